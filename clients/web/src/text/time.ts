const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const OLD = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** The time of day. */
export function clock(time: string): string {
  return CLOCK.format(new Date(time));
}

/** Date and time in full. */
export function moment(time: string): string {
  return FULL.format(new Date(time));
}

/** A length of time in milliseconds, rounded: `45 s`, `12 min`, `3 h`, `2 days`. */
export function span(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** As short as it can be: the time today, the weekday this week, else the date, with the year if that is another. */
export function when(time: string, now = new Date()): string {
  const date = new Date(time);
  const days = (now.getTime() - date.getTime()) / 86_400_000;
  if (date.toDateString() === now.toDateString()) return CLOCK.format(date);
  if (days < 6) return DAY.format(date);
  return (date.getFullYear() === now.getFullYear() ? DATE : OLD).format(date);
}

/** The time of day, after the day unless that is today. */
export function said(time: string, now = new Date()): string {
  const isToday = new Date(time).toDateString() === now.toDateString();
  return isToday ? clock(time) : `${when(time, now)}, ${clock(time)}`;
}
