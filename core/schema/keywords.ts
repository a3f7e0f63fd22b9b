// The keywords of JSON Schema (draft 7) that lead to other schemas: what is walked; a schema's author sees core/json-schema.ts.

/** A sub-schema: `true` accepts everything, `false` nothing. */
export type Branch = boolean | Keywords

export interface Keywords {
  readonly $ref?: unknown
  readonly type?: unknown
  readonly default?: unknown
  readonly required?: readonly string[]
  readonly properties?: Branches
  readonly patternProperties?: Branches
  readonly additionalProperties?: Branch
  readonly propertyNames?: Branch
  readonly dependencies?: Readonly<Record<string, Branch | readonly string[]>>
  readonly items?: Branch | readonly Branch[]
  readonly additionalItems?: Branch
  readonly contains?: Branch
  readonly allOf?: readonly Branch[]
  readonly anyOf?: readonly Branch[]
  readonly oneOf?: readonly Branch[]
  readonly not?: Branch
  readonly if?: Branch
  readonly then?: Branch
  readonly else?: Branch
}

type Branches = Readonly<Record<string, Branch>>
