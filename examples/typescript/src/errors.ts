/** The engine's `extensions.code` decides what a client does next; the sentence beside it is for people. */

/** The subscription is over, or the answer not there yet; asking anew works. */
const PASSING = new Set(["RATE_LIMITED", "SLOW_CONSUMER", "CURSOR_EXPIRED", "REORGED", "STATE_STALE", "UPSTREAM_DOWN", "CONNECTION"]);
/** Close codes that say the same each time: the client broke the protocol, is not allowed in, or runs too many operations. */
const HOPELESS_CLOSES = new Set([4400, 4401, 4403, 4406, 4409, 4429]);

export class SwaptideError extends Error {
  override readonly name = "SwaptideError";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }

  /** Whether asking again can help; where not, the request itself is wrong. */
  get passes(): boolean {
    return PASSING.has(this.code);
  }
}

export interface GraphQlError {
  readonly message: string;
  readonly extensions?: Readonly<Record<string, unknown>> | undefined;
}

export function fromGraphQl(errors: readonly GraphQlError[]): SwaptideError {
  const code = errors[0]?.extensions?.["code"];
  return new SwaptideError(typeof code === "string" ? code : "UNKNOWN", errors.map((error) => error.message).join("; "));
}

/** Whatever `graphql-ws` or `fetch` gave up with. */
export function toError(trouble: unknown): SwaptideError {
  if (trouble instanceof SwaptideError) return trouble;
  if (Array.isArray(trouble)) return fromGraphQl(trouble);
  if (isClose(trouble)) {
    const text = `the connection was closed (${trouble.code}${trouble.reason ? `, ${trouble.reason}` : ""})`;
    return new SwaptideError(HOPELESS_CLOSES.has(trouble.code) ? "CLOSED" : "CONNECTION", text);
  }
  return new SwaptideError("CONNECTION", textOf(trouble));
}

function isClose(value: unknown): value is { readonly code: number; readonly reason: string } {
  return typeof value === "object" && value !== null && "code" in value && typeof value.code === "number" && "reason" in value;
}

/** `fetch` says only that it failed; why is in the cause, and in an `AggregateError` a level below. A socket sends an event. */
function textOf(trouble: unknown): string {
  if (typeof trouble === "object" && trouble !== null && "error" in trouble) return textOf(trouble.error);
  if (!(trouble instanceof Error)) return typeof trouble === "string" ? trouble : "the connection failed";
  if (trouble instanceof AggregateError) return textOf(trouble.errors[0]);
  return trouble.cause instanceof Error ? textOf(trouble.cause) : trouble.message;
}
