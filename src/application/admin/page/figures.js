// From the server's answers to figures, and from figures to texts.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", {
  notation: "compact",
  maximumFractionDigits: 1,
});
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (value) => (value < 10 ? tenths : value <= 100_000 ? whole : short).format(value);

export const all = (value) => whole.format(value);

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** at;
  return `${(at === 0 || scaled >= 100 ? whole : tenths).format(scaled)} ${units[at]}`;
}

export function time(seconds) {
  if (seconds < 1e-3) return `${count(seconds * 1e6)} µs`;
  return seconds < 1 ? `${count(seconds * 1e3)} ms` : `${count(seconds)} s`;
}

export const percent = (value) => `${(value < 0.1 ? tenths : whole).format(100 * value)} %`;

/** A long time in its two largest units. */
export function long(seconds) {
  const parts = [
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = Math.max(
    0,
    parts.findIndex(([size]) => seconds >= size),
  );
  let rest = Math.floor(seconds);
  const told = parts.slice(seconds < 1 ? 3 : first).map(([size, unit]) => {
    const number = Math.floor(rest / size);
    rest -= number * size;
    return `${number} ${unit}`;
  });
  return told.slice(0, 2).join(" ");
}

/** The part `share` of the times is not above this, by the counts of a histogram's buckets; NaN if there are none. */
export function percentile(bounds, counts, share) {
  const total = counts.reduce((sum, number) => sum + number, 0);
  if (total === 0) return NaN;
  let rank = share * total;
  const at = counts.findIndex((number) => {
    rank -= number;
    return rank <= 0;
  });
  const high = bounds[at] ?? bounds[at - 1];
  const low = bounds[at - 1] ?? high / 2;
  // Inside of a bucket the times are taken as spread evenly over the powers.
  return low * (high / low) ** (1 + rank / counts[at]);
}

const minus = (one, other) => one.map((number, index) => number - other[index]);

/** What happened between two answers, a second. */
export function between(last, next) {
  const seconds = next.uptime - last.uptime;
  const rate = (of) => (of(next) - of(last)) / seconds;
  const stat = (name) => rate(({ stats }) => stats[name]);
  const { bounds, deliveries } = next.latency;
  const counts = minus(deliveries.counts, last.latency.deliveries.counts);
  return {
    received: stat("received"),
    published: stat("published"),
    delivered: stat("delivered"),
    read: stat("read_bytes"),
    written: stat("written_bytes"),
    cpu: rate(({ process }) => process.cpu_seconds ?? NaN),
    p50: percentile(bounds, counts, 0.5),
    p99: percentile(bounds, counts, 0.99),
    p999: percentile(bounds, counts, 0.999),
    cores: next.cores.map((core, index) => ({
      busy: rate(({ cores }) => cores[index].busy_seconds),
      received: rate(({ cores }) => cores[index].received),
      delivered: rate(({ cores }) => cores[index].delivered),
    })),
  };
}
