// One run at a time of something that many may ask for; knows nothing of what it does.

/** Returns what runs `task`, never twice at once: all who ask while it runs share the one run that comes after it. */
export function inTurn(task: () => Promise<void>): () => Promise<void> {
  let running: Promise<unknown> = Promise.resolve()
  let next: Promise<void> | undefined
  return () => {
    next ??= running.then(() => {
      next = undefined
      const run = task()
      running = run.catch(() => {})
      return run
    })
    return next
  }
}
