// Fingerprints of keys: 64 bits of a hash that nobody can aim at, the last ones kept; knows not what keys are for.
import { hash } from 'node:crypto'

export interface Fingerprint {
  /** Never 0. */
  readonly high: number
  readonly low: number
}

/** A power of two. */
const KEPT = 1_024
/** Keys differ at their end. */
const LOOKED_AT = 24
/** Longer ones are not kept. */
const LONGEST = 256

/** A hash takes 0.8 us, to find what is kept 0.1: each key has one place, by its last characters, and loses it to another. */
export class Fingerprints {
  readonly #keys = new Array<string>(KEPT).fill('')
  readonly #prints = new Array<Fingerprint>(KEPT).fill(printOf(''))

  of(key: string): Fingerprint {
    if (key.length > LONGEST) return printOf(key)
    let place = key.length
    for (let at = Math.max(0, key.length - LOOKED_AT); at < key.length; at++) {
      place = (Math.imul(place, 31) + key.charCodeAt(at)) | 0
    }
    place &= KEPT - 1
    if (this.#keys[place] === key) return this.#prints[place]!
    const print = printOf(key)
    this.#keys[place] = key
    this.#prints[place] = print
    return print
  }
}

function printOf(key: string): Fingerprint {
  const digest = hash('sha256', key, 'buffer')
  return { high: digest.readInt32LE(0) | 1, low: digest.readInt32LE(4) }
}
