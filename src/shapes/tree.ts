/** A part of a filter: an array whose first item says what it is (sql/shapes/internal/filter_sql.sql has the list). */
export type FilterNode = readonly unknown[];

/** What a node of Postgres' parse tree has, of which only what is known is read: it is another program's. */
// biome-ignore lint/suspicious/noExplicitAny: its shape is not ours to say
export type Fields = any;
