// Values by what a text begins (or ends) with: a radix tree edited in place. Knows neither paths nor hosts.

interface Node<V> {
  label: string
  /** Of the label: most are one character, which the node above knows, and are not looked at. */
  size: number
  /** The first character of each child's label, in the order of the children. */
  heads: string
  children: Node<V>[]
  value: V | undefined
}

function leaf<V>(label: string, value?: V): Node<V> {
  return { label: ownCopy(label), size: label.length, heads: '', children: [], value }
}

/** A slice keeps the text it was cut from for ever, and stands somewhere else than its letters: a look-up more. */
function ownCopy(text: string): string {
  return JSON.parse(JSON.stringify(text)) as string
}

function relabel<V>(node: Node<V>, label: string): void {
  node.label = ownCopy(label)
  node.size = label.length
}

/** An edit and a look-up cost the length of the key, whatever the number of keys. */
export class PrefixTree<V> {
  readonly #root: Node<V> = leaf('')
  readonly #backwards: boolean

  /** `backwards`: keys are given as they are and matched from their last character on. */
  constructor({ backwards = false } = {}) {
    this.#backwards = backwards
  }

  get empty(): boolean {
    return this.#root.value === undefined && this.#root.children.length === 0
  }

  /** How many nodes there are: as many for the same keys, whatever edits led to them. */
  get nodes(): number {
    const count = ({ children }: Node<V>): number => children.reduce((sum, child) => sum + count(child), 1)
    return count(this.#root)
  }

  get(key: string): V | undefined {
    return this.#trail(this.#read(key)).at(-1)?.value
  }

  set(key: string, value: V): void {
    const text = this.#read(key)
    let node = this.#root
    let at = 0
    while (at < text.length) {
      const slot = node.heads.indexOf(text[at]!)
      if (slot < 0) {
        node.heads = ownCopy(node.heads + text[at]!)
        node.children = [...node.children, leaf(text.slice(at), value)]
        return
      }
      node = splitAt(node, slot, commonLength(node.children[slot]!.label, text, at))
      at += node.size
    }
    node.value = value
  }

  /** Leaves the tree as if the key had never been there. */
  delete(key: string): void {
    const trail = this.#trail(this.#read(key))
    const node = trail.at(-1)
    if (node === undefined) return
    node.value = undefined
    const above = trail.at(-2)
    if (above !== undefined && node.children.length === 0) {
      const slot = above.children.indexOf(node)
      above.children.splice(slot, 1)
      above.heads = above.heads.slice(0, slot) + above.heads.slice(slot + 1)
      if (trail.length > 2) joinWithOnlyChild(above)
    } else if (above !== undefined) joinWithOnlyChild(node)
  }

  /** The values of all keys that `text` begins with (ends with, if the tree is backwards), shortest key first. */
  along(text: string): V[] {
    const found: V[] = []
    const last = text.length - 1
    let node = this.#root
    let at = 0
    for (;;) {
      if (node.value !== undefined) found.push(node.value)
      if (at > last) return found
      const slot = node.heads.indexOf(text[this.#backwards ? last - at : at]!)
      if (slot < 0) return found
      node = node.children[slot]!
      const { size } = node
      if (size > 1 && !this.#continues(text, at, node.label)) return found
      at += size
    }
  }

  /** Whether the label, whose first character is known to be there, stands in the text. */
  #continues(text: string, at: number, label: string): boolean {
    const last = text.length - 1
    for (let step = 1; step < label.length; step++) {
      const here = at + step
      // Beyond the end there is NaN, which is no character.
      if (label.charCodeAt(step) !== text.charCodeAt(this.#backwards ? last - here : here)) return false
    }
    return true
  }

  /** The nodes from the root to the key's own; empty when it has none. */
  #trail(text: string): Node<V>[] {
    const trail = [this.#root]
    let at = 0
    while (at < text.length) {
      const above = trail.at(-1)!
      const node = above.children[above.heads.indexOf(text[at]!)]
      if (node === undefined || commonLength(node.label, text, at) < node.label.length) return []
      trail.push(node)
      at += node.label.length
    }
    return trail
  }

  #read(key: string): string {
    return this.#backwards ? Array.from({ length: key.length }, (_, at) => key[key.length - 1 - at]).join('') : key
  }
}

function commonLength(label: string, text: string, at: number): number {
  let common = 0
  while (common < label.length && label.charCodeAt(common) === text.charCodeAt(at + common)) common++
  return common
}

/** The child in that slot; when only so much of its label is shared, a new node in between that has this as its label. */
function splitAt<V>(above: Node<V>, slot: number, shared: number): Node<V> {
  const child = above.children[slot]!
  if (shared === child.label.length) return child
  const middle = leaf<V>(child.label.slice(0, shared))
  relabel(child, child.label.slice(shared))
  middle.heads = child.label[0]!
  middle.children.push(child)
  above.children[slot] = middle
  return middle
}

function joinWithOnlyChild<V>(node: Node<V>): void {
  const child = node.children[0]
  if (child === undefined || node.children.length > 1 || node.value !== undefined) return
  relabel(node, node.label + child.label)
  node.heads = child.heads
  node.children = child.children
  node.value = child.value
}
