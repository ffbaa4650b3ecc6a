import type { Dispatcher } from 'undici';
import type { Link } from './link.js';
import type { Guest, Target } from './target.js';

/** Leads the requests of one session to the target where it began. */
export class Route implements Pick<Dispatcher, 'dispatch'> {
  readonly #link: Link;
  readonly #guest: Guest;
  readonly #tied: () => boolean;
  #target: Target;
  /** Where earlier requests may still be under way. */
  readonly #before = new Set<Target>();
  #ended = false;

  /** @param tied - whether the requests cannot go anywhere else */
  constructor(link: Link, target: Target, guest: Guest, tied: () => boolean) {
    this.#link = link;
    this.#target = target;
    this.#guest = guest;
    this.#tied = tied;
    target.enter(guest);
  }

  get target(): Target {
    return this.#target;
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (this.#target.gone && !this.#tied()) this.#move();
    return this.#target.dispatcher.dispatch(options, handler);
  }

  /** No request is under way: nothing holds the targets that are gone. */
  settle(): void {
    for (const target of this.#before) target.exit(this.#guest);
    this.#before.clear();
    if (this.#target.gone && !this.#tied()) this.#move();
  }

  /** Leaves every target, for good: the last request may come to its end only now. */
  end(): void {
    this.#ended = true;
    for (const target of [...this.#before, this.#target]) target.exit(this.#guest);
    this.#before.clear();
  }

  #move(): void {
    const next = this.#ended ? undefined : this.#link.choose();
    if (next === undefined) return;
    this.#before.add(this.#target);
    this.#target = next;
    next.enter(this.#guest);
  }
}
