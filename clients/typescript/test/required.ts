// An environment variable that a test needs.
export function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: the tests in tests/clients/ set it`);
  return value;
}
