import type { Video } from "miles-client";

const COUNTS = [
  ["view_count", "Views"],
  ["like_count", "Likes"],
  ["comment_count", "Comments"],
] as const;

/** The form's fields, under the names that they have in a request. */
export function Fields() {
  return (
    <>
      <label>
        Title
        <input name="title" required maxLength={10000} autoComplete="off" placeholder="10 Tips for a Perfect Morning" />
      </label>
      <label>
        Description
        <textarea name="description" rows={2} maxLength={10000} />
      </label>
      <label>
        Thumbnail URL
        <input name="thumbnail_url" type="url" autoComplete="off" placeholder="https://" />
      </label>
      <div className="row">
        {COUNTS.map(([name, label]) => (
          <label key={name}>
            {label}
            <input name={name} type="number" min={0} step={1} inputMode="numeric" placeholder="not known" />
          </label>
        ))}
      </div>
      <label>
        Published
        <input name="published_at" type="datetime-local" />
      </label>
    </>
  );
}

/** The video that the form describes; empty fields are null or omitted. */
export function videoIn(form: FormData): Video {
  const text = (name: string) => {
    const value = form.get(name);
    return typeof value === "string" && value.trim() ? value.trim() : null;
  };
  const publishedAt = text("published_at");
  return {
    title: text("title") ?? "",
    description: text("description"),
    thumbnail_url: text("thumbnail_url"),
    ...Object.fromEntries(COUNTS.flatMap(([name]) => (text(name) ? [[name, Number(text(name))]] : []))),
    published_at: publishedAt && new Date(publishedAt).toISOString(),
  };
}
