/** A text without the byte order mark that it may begin with: some servers, and programs on Windows, write one before their JSON. */
export function withoutMark(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}
