// JSON Schema as a type: what a schema looks like, and the TypeScript type of the values that fit it; nothing at run time.

/** A JSON Schema (draft 7) object. Keywords that types cannot follow (patterns, limits, conditions) are for the validator. */
export interface Schema {
  readonly type?: TypeName | readonly TypeName[]
  readonly properties?: { readonly [name: string]: Schema }
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | Schema
  readonly items?: Schema
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly default?: unknown
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly [keyword: string]: unknown
}

type TypeName = 'string' | 'number' | 'integer' | 'boolean' | 'null' | 'array' | 'object'

/** A value that fits S once defaults are filled in: a property is sure when it is required or has a default. */
export type Infer<S> = S extends { readonly const: infer V }
  ? V
  : S extends { readonly enum: readonly (infer V)[] }
    ? V
    : S extends { readonly type: 'object' }
      ? Flat<Named<S> & Others<S>>
      : S extends { readonly type: 'array' }
        ? S extends { readonly items: infer I }
          ? Infer<I>[]
          : unknown[]
        : S extends { readonly type: infer T }
          ? T extends readonly (infer Each)[]
            ? Simple<Each>
            : Simple<T>
          : S extends { readonly anyOf: readonly (infer B)[] }
            ? Infer<B>
            : S extends { readonly oneOf: readonly (infer B)[] }
              ? Infer<B>
              : unknown

type Simple<T> = T extends 'string'
  ? string
  : T extends 'number' | 'integer'
    ? number
    : T extends 'boolean'
      ? boolean
      : T extends 'null'
        ? null
        : T extends 'array'
          ? unknown[]
          : Record<string, unknown>

type Named<S> = S extends { readonly properties: infer P }
  ? { [K in keyof P as IsSure<S, P, K> extends true ? K : never]: Infer<P[K]> } & {
      [K in keyof P as IsSure<S, P, K> extends true ? never : K]?: Infer<P[K]>
    }
  : unknown

type IsSure<S, P, K extends keyof P> = P[K] extends { readonly default: unknown }
  ? true
  : S extends { readonly required: readonly (infer R)[] }
    ? K extends R
      ? true
      : false
    : false

type Others<S> = S extends { readonly properties: object }
  ? unknown
  : S extends { readonly additionalProperties: infer A }
    ? A extends object
      ? { [name: string]: Infer<A> }
      : Record<string, unknown>
    : Record<string, unknown>

type Flat<T> = { [K in keyof T]: T[K] }
