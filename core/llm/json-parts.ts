// Parts of JSON, read and changed, in copies of what stands around them; knows no protocol.
import { isObject, type JsonObject } from './json.ts'

/** The same object with another member; itself when the member is missing or stays. */
export function mapMember(object: JsonObject, name: string, map: (value: unknown) => unknown): JsonObject {
  const value = object[name]
  if (value === undefined) return object
  const mapped = map(value)
  return mapped === value ? object : { ...object, [name]: mapped }
}

/** The same list with other objects; itself when none changes, or when it is no list. */
export function mapObjects(list: unknown, map: (item: JsonObject, at: number) => JsonObject): unknown {
  if (!Array.isArray(list)) return list
  const mapped = list.map((item: unknown, at) => (isObject(item) ? map(item, at) : item))
  return mapped.every((item, at) => item === list[at]) ? list : mapped
}

/** The objects of a list; none of what is no list. */
export function objects(list: unknown): JsonObject[] {
  return Array.isArray(list) ? list.filter(isObject) : []
}
