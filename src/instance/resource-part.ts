/** Whether a URI is the one that somebody is subscribed to, or of a resource within that. */
export function isPartOf(uri: string, subscribed: string): boolean {
  return (
    uri === subscribed ||
    (uri.startsWith(subscribed) && (subscribed.endsWith('/') || /[/?#]/.test(uri.charAt(subscribed.length))))
  );
}
