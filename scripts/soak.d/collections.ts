import { PerformanceObserver, constants } from 'node:perf_hooks';

/** An entry of a collection: what Node says of it is in no type. */
interface Collection {
  readonly detail?: { readonly kind: number; readonly flags: number };
}

/** Counts the collections of the whole heap that V8 began by itself. */
export class MajorCollections {
  count = 0;
  readonly #observer = new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries() as Collection[]) {
      const { kind = 0, flags = 0 } = detail ?? {};
      const isAsked = (flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0;
      if (kind === constants.NODE_PERFORMANCE_GC_MAJOR && !isAsked) this.count++;
    }
  });

  constructor() {
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  close(): void {
    this.#observer.disconnect();
  }
}
