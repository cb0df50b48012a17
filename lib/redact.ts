const HIDDEN = '[redacted]';

/** What secrets look like in the lines of logs: the app's own are not known here, and are not to be. */
const SECRETS: ReadonlyArray<[RegExp, string]> = [
  // A generated password may have a / in it, with which no address can be read, and which is then in the error.
  [/(\w+:\/\/[^\s:@/]*:)[^\s@]+(?=@)/g, `$1${HIDDEN}`],
  [/\b(Bearer|Basic) [\w.~+/=-]{8,}/gi, `$1 ${HIDDEN}`],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, HIDDEN],
  [/\b(AKIA|ASIA)[A-Z0-9]{16}\b|\b(sk|pk|ghp|gho|xox[abp])[-_][\w-]{12,}/g, HIDDEN],
  [
    /((?:pass(?:word|wd)?|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|cookie)[\w-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&"']+)/gi,
    `$1${HIDDEN}`,
  ],
];

/** A line of somebody's log without what looks like a secret. */
export function redact(line: string): string {
  return SECRETS.reduce((text, [pattern, instead]) => text.replace(pattern, instead), line);
}
