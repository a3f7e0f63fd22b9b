// How a stream is cut into frames, whatever they are: what SSE and AWS's event stream have in common; knows no protocol.

/**
 * The frames that one read completed. Frame `i` is `bytes` from `ends[i - 1]` (or 0) to `ends[i]`; what follows the last end
 * belongs to no frame yet.
 */
export interface Cut {
  readonly bytes: Buffer
  readonly ends: readonly number[]
}

/** Cuts one stream. */
export interface Splitter {
  /** Bytes of an incomplete frame are waiting for the rest. */
  readonly partial: boolean
  /** What is coming in has been given up: it is too large for a frame, or is none. */
  readonly lost: boolean
  /** Takes one read. The result is good until the next call; undefined when no frame was completed. */
  feed(chunk: Buffer): Cut | undefined
  /** At the end of the stream: what counts as a frame although its end has not come. */
  rest(): Cut | undefined
}

/** What a frame says. */
export interface Said {
  /** `message` where the frame does not say. */
  readonly type: string
  readonly data: string
}

export interface Framing {
  /** Of a body that is framed so; in lower case. */
  readonly mediaType: string
  /**
   * What ends a frame of which only a part was sent, so that another can follow. Undefined where nothing can: frames are
   * then sent whole or not at all.
   */
  readonly patch: Buffer | undefined
  /** What says nothing, so that a connection is seen to live. Undefined where there is no such thing. */
  readonly comment: Buffer | undefined
  open(): Splitter
  /** Reads one frame; undefined when it says nothing (a comment). */
  read(frame: Buffer): Said | undefined
  /** The frame with other data. */
  rewrite(frame: Buffer, data: string): Buffer
}
