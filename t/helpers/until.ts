// Waiting for a condition instead of for a time.

/** Resolves when `holds` does; rejects with `what` after `withinMs`. Looks again on every turn of the loop, at most each ms. */
export async function until(holds: () => boolean | Promise<boolean>, what: string, withinMs = 30_000): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
