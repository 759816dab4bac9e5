// What a test needs of its surroundings.
export function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: tests/clients/ set it`);
  return value;
}
