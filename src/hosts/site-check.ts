import { Refusal } from './refusal.js';

const loopback = ['localhost', '127.0.0.1', '[::1]'];

export interface SiteCheckOptions {
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
}

/** True when every name is one of this machine alone. */
export function isLoopbackOnly(hosts: readonly string[]): boolean {
  return hosts.every((host) => loopback.includes(nameOf(host.toLowerCase())));
}

export const loopbackHosts: readonly string[] = loopback;

/**
 * Refuses what a page of another site could have sent: one whose name was pointed at this machine shows in Host, any other
 * in Origin.
 */
export function createSiteCheck(options: SiteCheckOptions): (host: string | null, origin: string | null) => void {
  const hosts = new Set(options.hosts.map((host) => host.toLowerCase()));
  const origins = new Set(options.origins.map((origin) => origin.toLowerCase()));
  return (hostHeader, originHeader) => {
    const host = hostHeader?.toLowerCase();
    if (host === undefined || !(hosts.has(host) || hosts.has(nameOf(host)))) {
      throw new Refusal('host', 'The Host header names another host');
    }
    // No browser sends an empty one: proxies do, for one that is not there.
    if (!originHeader) {
      return;
    }
    const origin = originHeader.toLowerCase();
    if (origin !== `http://${host}` && origin !== `https://${host}` && !origins.has(origin)) {
      throw new Refusal('origin', 'Pages of this origin may not connect');
    }
  };
}

/** A Host header without its port. */
function nameOf(host: string): string {
  return host.replace(/:\d*$/, '');
}
