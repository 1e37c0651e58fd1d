// What a Node program can do by itself: fs.writeSync for each frame, on a tap given as descriptor 3.
// Usage: node-tap.js tx LENGTH
import fs from 'node:fs';

import { benchFrame } from '../frame.js';
import { ready } from './ready.js';

const TAP = 3;

const frame = benchFrame(Number(process.argv[3]));
ready();
for (;;) fs.writeSync(TAP, frame);
