// A Worker that ends while a sentry looks.
import { Sentry } from '#lib/sys/sentry';

const index = { words: new Uint16Array(1), at: 0 };
new Sentry({ avail: index, used: index, size: 8 }, undefined, 1, () => undefined);
