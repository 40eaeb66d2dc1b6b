/** A column's type, or a field's in events. `Put` is what a column takes, `Take` what is read of JSON. */
export interface Type<Put, Take> {
  readonly name: string;
  /** Only in the compiler: what the type stands for. */
  readonly '~types'?: { put: Put; take: Take };
}
/** A type for events only: what is read of JSON. */
export interface Model<Take> {
  readonly '~model'?: Take;
}
/** A type that is no column's part of a key. */
export interface Nullable<Put, Take> extends Type<Put | null | undefined, Take | null> {
  readonly nullable: true;
}

/** Text, without U+0000. */
export declare const text: Type<string, string>;
/** Whole number of 64 bits. Read of an event it is a number, and one beyond 2^53 is rejected: see `bigint`. */
export declare const integer: Type<number | bigint, number>;
/** Whole number of 64 bits, read of an event as a bigint: exact also beyond 2^53. */
export declare const bigint: Type<number | bigint, bigint>;
/** Exact decimal number. A number with a fraction is refused, because it is not exact: text is. */
export declare const decimal: Type<Decimal | string | number | bigint, Decimal>;
/** Finite floating-point number. */
export declare const float: Type<number, number>;
/** True or false. */
export declare const boolean: Type<boolean, boolean>;
/** Bytes. Not in JSON. */
export declare const bytes: Type<Uint8Array, never>;
/** Instant: milliseconds since 1970, a `Date`, text like `2026-01-31T12:00:00Z` (RFC 3339), or `micros(..)`. */
export declare const timestamp: Type<Instant, string | number>;
/** Calendar day: days since 1970, a `Date` (its day in UTC), or text like `2026-01-31`. */
export declare const date: Type<number | Date | string, string | number>;
/** 32 hexadecimal digits in groups of 8-4-4-4-12. */
export declare const uuid: Type<string, string>;
/** A JSON document: any value that JSON has. Integers beyond 2^53 are refused, because they were rounded; `rawJson(..)` goes as it is. */
export declare const json: Type<unknown, unknown>;
/** The same, or null. In an event the field may be left out. */
export declare function nullable<Put, Take>(type: Type<Put, Take>): Nullable<Put, Take>;
export declare function nullable<Take>(model: Model<Take>): Model<Take | null>;

type Field = Type<any, any> | Model<any>;
/** What is read of JSON by a model. */
export type Read<F> = F extends Type<any, infer Take> ? Take : F extends Model<infer Take> ? Take : never;

/** A JSON object with these fields, and others that are left alone. */
export declare function object<F extends Record<string, Field>>(fields: F): Model<{ [N in keyof F]: Read<F[N]> }>;
/** A JSON list. */
export declare function list<F extends Field>(of: F): Model<Read<F>[]>;
/** A JSON object whose field `tag` says which of the models it is. Null where it is none of them: an event of another kind. */
export declare function tagged<const N extends string, M extends Record<string, Model<any>>>(
  tag: N,
  models: M,
): Model<{ [K in keyof M & string]: { [T in N]: K } & Read<M[K]> }[keyof M & string] | null>;

/** A CloudEvent with data of this type: `event.json(cloudEvent(Paid))`. Wants `format = "cloudevents"` for the topic. */
export declare function cloudEvent<F extends Field = typeof json>(
  data?: F,
): Model<{
  /** What it is: `com.example.order.placed`. */
  type: string;
  /** Where it comes from. With `id` it names the event. */
  source: string;
  id: string;
  /** What it is about, in its source. */
  subject: string | null;
  /** When it happened (RFC 3339), as a `timestamp` column takes it. */
  time: string | null;
  data: Read<F> | null;
  /** Data that is neither JSON nor text. */
  data_base64: string | null;
}>;
/** A change that Debezium saw, of rows of this type: `event.json(rowChange(Customer))`. Wants `format = "debezium"` for the topic. */
export declare function rowChange<F extends Field = typeof json>(
  row?: F,
): Model<{
  /** `c` create, `r` read in a snapshot, `u` update, `d` delete, `t` truncate, `m` message. */
  op: string;
  /** The row as it was; null where it is new, or the database does not tell. */
  before: Read<F> | null;
  /** The row as it is; null where it is gone. */
  after: Read<F> | null;
  /** Where it was seen, and when the database made it, in milliseconds since 1970. */
  source: { ts_ms: number | null; db: string | null; schema: string | null; table: string | null } | null;
}>;

/** An instant with microseconds. */
export type Instant = number | Date | string | Micros;
declare class Micros {
  private constructor();
  readonly micros: number | bigint;
}
/** An instant from microseconds since 1970-01-01T00:00:00Z. */
export declare function micros(since1970: number | bigint): Micros;
/** The day on which an instant falls in UTC, as days since 1970-01-01. */
export declare function day(instant: Instant): number;
/** A JSON document that is text already. */
export declare function rawJson(text: string): object;

/** An exact decimal number of up to 38 digits. Arithmetic is exact, or a reject. */
export declare class Decimal {
  private constructor();
  static readonly ZERO: Decimal;
  /** From text (`"12.50"`, `"-1.2e3"`) or a whole number. */
  static of(value: Decimal | string | number | bigint): Decimal;
  /** `units / 10^scale`: `Decimal.units(1250, 2)` is 12.50. */
  static units(units: number | bigint, scale: number): Decimal;
  /** Digits after the point. */
  readonly scale: number;
  plus(other: Decimal | string | number | bigint): Decimal;
  minus(other: Decimal | string | number | bigint): Decimal;
  /** The product with a whole number. */
  times(factor: number | bigint): Decimal;
  /** Below, at or above 0 as this is less than, equal to or greater than the other: by number, 1.0 equals 1.00. */
  compare(other: Decimal | string | number | bigint): -1 | 0 | 1;
  toString(): string;
  toJSON(): string;
}

/** How a new value combines with the stored one. `newer` guards the whole change. */
export type Operation = 'set' | 'add' | 'max' | 'min' | 'set-if-null' | 'newer';
type Columns = Record<string, Type<any, any>>;
type Put<T> = T extends Type<infer P, any> ? P : never;
type Names<C> = keyof C & string;
/** Columns that take null may be left out of a row. */
type Row<C> = { [N in keyof C as C[N] extends { nullable: true } ? never : N]: Put<C[N]> } & {
  [N in keyof C as C[N] extends { nullable: true } ? N : never]?: Put<C[N]>;
};
type Assignment<C> = Names<C> | { readonly [N in Names<C>]?: Operation };
type Assigned<A> = A extends string ? A : keyof A & string;
/** What each change of this kind is called with: it takes effect in the event that is being applied. */
export type Change<C> = (row: Row<C>) => void;

export interface Table<K extends Columns, C extends Columns> {
  /** Insert the row, or combine it with the stored one. Names every column that takes no null; plain names are `set`. */
  upsert<const A extends readonly Assignment<C>[]>(...assignments: A): Change<K & Pick<C, Assigned<A[number]> & keyof C>>;
  /** Combine with the stored row; nothing where there is none. */
  update<const A extends readonly Assignment<C>[]>(...assignments: A): Change<K & Pick<C, Assigned<A[number]> & keyof C>>;
  /** Insert the row; nothing where there is one. */
  insert<N extends Names<C>>(...columns: N[]): Change<K & Pick<C, N>>;
  /** Delete the row, if there is one. */
  delete(): Change<K>;
  /** Delete all rows that agree in these first columns of the key. */
  deletePrefix<N extends Names<K>>(first: N, ...more: N[]): Change<Pick<K, N>>;
}

/**
 * Declares a table. `key` is its primary key. `partitioning`: without it each row is only ever changed by events of one partition;
 * `commutative`: rows are shared, and changed by `add`, `max`, `min`, or under `newer`; `serial`: anything else, by one writer.
 */
export declare function table<K extends Columns, C extends Columns = {}>(
  name: string,
  table: {
    key: K & { [N in keyof K]: K[N] extends { nullable: true } ? never : K[N] };
    columns?: C;
    indexes?: readonly (readonly Names<K & C>[] | { readonly fullText: readonly Names<K & C>[] })[];
    partitioning?: 'by-partition' | 'commutative' | 'serial';
  },
): Table<K, C>;

/** One record of a topic. */
export interface Event {
  readonly topic: string;
  readonly partition: number;
  /** Position in the partition. Neighbours may be further than 1 apart. */
  readonly offset: number;
  /** Milliseconds since 1970-01-01T00:00:00Z; null where the record has none. */
  readonly timestamp: number | null;
  /** The key's bytes; null for a null key. */
  readonly key: Uint8Array | null;
  /** The key as text. Rejects where it is null or not UTF-8. */
  readonly keyText: string;
  /** Whether it has no value: what its key names is gone. */
  readonly isTombstone: boolean;
  /** The value's bytes; null for a tombstone. */
  readonly bytes: Uint8Array | null;
  /** The value as text; undefined for a tombstone. Rejects where it is not UTF-8. */
  readonly text: string | undefined;
  /** The value as JSON; undefined for a tombstone. Rejects where it is not JSON or does not fit the model, and says where. */
  json<T>(model: Model<T>): T | undefined;
  json(): any;
  /** The bytes of the last header of this name; null where there is none or it is null. The topic must ask for it. */
  header(name: string): Uint8Array | null;
  /** The same as text; null also where it is not UTF-8. */
  headerText(name: string): string | null;
  /** All headers of this name. */
  headers(name: string): (Uint8Array | null)[];
}

/** A topic, where its name does not say enough: binary keys and values, and the headers that are wanted. */
export interface Topic {
  name: string;
  key?: 'text' | 'bytes';
  value?: 'text' | 'bytes';
  headers?: string[];
}
export interface Plugin {
  describe(): any;
  apply(batch: any): any[];
}
/** The projection: export both functions, `export const { describe, apply } = projection(..)`. */
export declare function projection(
  about: { name: string; /** Raised when the meaning of the rows changes; 1 without it. */ revision?: number; topics: (string | Topic)[] },
  apply: (event: Event) => void,
): Plugin;

/** Thrown by `apply`: the event is at fault, with the reason. It is parked. */
export declare class Reject extends Error {}
/** Thrown by `apply`: the projection must not go on, with the reason. */
export declare class Halt extends Error {}
/** Lines in the projection's log. */
export declare const log: Record<'trace' | 'debug' | 'info' | 'warn' | 'error', (message: unknown) => void>;
