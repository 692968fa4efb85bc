// Numbers for people, made from exact decimal strings without ever becoming floats.

const SUBSCRIPT = "₀₁₂₃₄₅₆₇₈₉";
const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const COMPACT = [["T", 12], ["B", 9], ["M", 6]];

const group = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");

/** Rounds `whole.fraction` half up to `places` digits behind the point, on digits alone. Zeros at the end stay where they are a result of it. */
function round(whole, fraction, places) {
  const kept = (fraction + "0".repeat(places)).slice(0, places);
  const up = (fraction[places] ?? "0") >= "5" ? 1n : 0n;
  const all = (BigInt(whole + kept) + up).toString().padStart(places + 1, "0");
  const exact = !/[1-9]/.test(fraction.slice(places));
  const tail = places ? (exact ? all.slice(-places).replace(/0+$/, "") : all.slice(-places)) : "";
  return [places ? all.slice(0, -places) : all, tail];
}

const raised = (number, digits) => [...String(number)].map((d) => digits[d]).join("");

/** "1234.5678" → "1,234.57"; "0.00000012" → "0.0₆12"; "12345678901" → "12.35B"; "1234567890123456" → "1.235 × 10¹⁵". */
export function human(text, significant = 6) {
  if (text === null || text === undefined) return "–";
  const negative = text.startsWith("-");
  const [whole, fraction = ""] = (negative ? text.slice(1) : text).split(".");
  const sign = negative ? "−" : "";
  if (whole.length > 15) {
    const [w, f] = round(whole[0], whole.slice(1) + fraction, 3);
    return `${sign}${w}${f && "." + f} × 10${raised(whole.length - 1, SUPERSCRIPT)}`;
  }
  for (const [letter, power] of COMPACT) {
    if (whole.length > power) {
      const [w, f] = round(whole.slice(0, -power), whole.slice(-power) + fraction, Math.max(1, 4 - (whole.length - power)));
      return `${sign}${group(w)}${f && "." + f}${letter}`;
    }
  }
  if (whole !== "0") {
    const [w, f] = round(whole, fraction, Math.max(whole.length > 5 ? 0 : 2, significant - whole.length));
    return `${sign}${group(w)}${f && "." + f}`;
  }
  const zeros = fraction.match(/^0*/)[0].length;
  if (zeros === fraction.length) return "0";
  if (zeros < 5) {
    const [w, f] = round("0", fraction, zeros + Math.min(significant, 5));
    return `${sign}${w}${f && "." + f}`;
  }
  const digits = fraction.slice(zeros, zeros + 4).replace(/0+$/, "");
  return `${sign}0.0${raised(zeros, SUBSCRIPT)}${digits}`;
}

/** A raw integer amount in the token's unit, as an exact decimal string; null where that is not known. */
export function scale(raw, decimals) {
  if (raw === null || raw === undefined || decimals === null || decimals === undefined) return null;
  const digits = raw.padStart(decimals + 1, "0");
  const fraction = decimals ? digits.slice(-decimals).replace(/0+$/, "") : "";
  const whole = decimals ? digits.slice(0, -decimals) : digits;
  return fraction ? `${whole}.${fraction}` : whole;
}

/** Compares two non-negative decimal strings: -1, 0 or 1. */
export function compare(a, b) {
  const [aw, af = ""] = a.split(".");
  const [bw, bf = ""] = b.split(".");
  const places = Math.max(af.length, bf.length);
  const [x, y] = [BigInt(aw + af.padEnd(places, "0")), BigInt(bw + bf.padEnd(places, "0"))];
  return x < y ? -1 : x > y ? 1 : 0;
}

export const shortHash = (hash) => `${hash.slice(0, 6)}…${hash.slice(-4)}`;

/** 3000 → "0.3%". */
// A V4 pool may leave the fee to its hook, swap by swap.
export const fee = (pips) => (pips > 1_000_000 ? "fee by swap" : `${String(pips / 10_000)}%`);

export const blockNumber = (number) => group(String(number));

/** What a token calls itself, without control and direction characters; its address where it says nothing. */
export function symbol(token) {
  const text = (token?.symbol ?? "").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "").trim();
  return text || (token ? `${token.id.slice(0, 6)}…${token.id.slice(-4)}` : "?");
}

/** Seconds since a block, in words. */
export function ago(timestamp, now = Date.now() / 1000) {
  const seconds = Math.max(0, Math.round(now - timestamp));
  if (seconds < 5) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}
