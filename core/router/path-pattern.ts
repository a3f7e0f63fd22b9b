// A path pattern of a route (facts core 2.3): what is literal of it, whether a path fits it, and what its wildcards took.

export interface PathPattern {
  readonly pattern: string
  /** What the path is, or begins with. */
  readonly literal: string
  readonly exact: boolean
}

/** `parameters`: a colon begins a wildcard too, even within a segment (`radixtree_uri_with_parameter`). */
export function readPath(pattern: string, { parameters }: { parameters: boolean }): PathPattern {
  const star = pattern.indexOf('*')
  const colon = parameters ? pattern.indexOf(':') : -1
  const end = colon < 0 ? star : colon
  return { pattern, literal: end < 0 ? pattern : pattern.slice(0, end), exact: end < 0 }
}

/**
 * The check of a path that begins with what is literal: a segment that begins with `*` is anything, one that begins with
 * `:` is one segment. None when no segment begins so, or when the beginning has said everything.
 */
export function segmentCheck({ pattern, literal }: PathPattern): RegExp | undefined {
  if (!WILD.test(pattern)) return undefined
  const lastIsAnything = /^\*[^/]*$/.test(pattern.slice(literal.length)) && literal.endsWith('/')
  if (lastIsAnything) return undefined
  const [head, ...pieces] = pattern.split(/(?<=\/)\*[^/]*/).map(pieceSource)
  const tail = pieces.pop()
  // What stands between two wildcards is taken where it first occurs and never given back, which is what a lookahead does:
  // with a plain `.*` a made-up path of n segments costs n to the power of the wildcards.
  const between = pieces.map((piece, at) => `(?=(.*?${piece}))\\${at + 1}`)
  return new RegExp(`^${head}${between.join('')}${tail === undefined ? '' : `.*${tail}`}$`, 's')
}

/** A segment that is a wildcard. */
const WILD = /\/[*:]/

function pieceSource(piece: string): string {
  const segments = piece.split('/')
  return segments.map(each => (each.startsWith(':') ? '[^/]+' : each.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))).join('/')
}

/**
 * What the wildcards of a pattern took of a path that fits it, by their names; a nameless star is `:ext`. A star takes as
 * much as it can while the rest still fits, those on the left first.
 */
export function captured(pattern: string, path: string): ReadonlyMap<string, string> {
  const taken = new Map<string, string>()
  if (!WILD.test(pattern)) return taken
  const given = path.split('/')
  const { pieces, stars } = cutAtStars(pattern.split('/'))
  // From the right: what stands between stars stands as late as it can, which leaves the most for those before it.
  const places = [given.length - pieces.at(-1)!.length]
  for (let at = pieces.length - 2; at >= 0; at--) {
    const { length } = pieces[at]!
    let place = at === 0 ? 0 : places[0]! - 1 - length
    while (place > 0 && !fitsAt(pieces[at]!, given, place)) place--
    places.unshift(place)
  }
  for (const [at, piece] of pieces.entries()) {
    const place = places[at]!
    for (const [offset, segment] of piece.entries())
      if (segment.startsWith(':')) taken.set(segment.slice(1), given[place + offset] ?? '')
    const star = stars[at]
    if (star !== undefined) taken.set(star || ':ext', given.slice(place + piece.length, places[at + 1]).join('/'))
  }
  return taken
}

/** The segments between those that begin with a star, and the names of these. */
function cutAtStars(segments: readonly string[]): { pieces: string[][]; stars: string[] } {
  const pieces: string[][] = [[]]
  const stars: string[] = []
  for (const segment of segments) {
    if (segment.startsWith('*')) {
      stars.push(segment.slice(1))
      pieces.push([])
    } else pieces.at(-1)!.push(segment)
  }
  return { pieces, stars }
}

function fitsAt(piece: readonly string[], given: readonly string[], place: number): boolean {
  return piece.every((segment, offset) => {
    const there = given[place + offset]
    return segment.startsWith(':') ? there !== '' : there === segment
  })
}
