import fs from 'node:fs';
import path from 'node:path';

/** Where tracefs may be. The second one is what older systems have. */
const MOUNTS = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];

/** What helps who has not the rights. */
const AGAIN = 'vhost-net trace';

/** Why something of the kernel's can't be seen here, and what helps. */
export interface Blindness {
  readonly reason: string;
  /** A command for a root shell. */
  readonly remedy?: string;
}

/** The directory of instances, or why there is none to use. */
function findInstances(): string | Blindness {
  const codes: unknown[] = [];
  for (const mount of MOUNTS) {
    const folder = path.join(mount, 'instances');
    try {
      fs.readdirSync(folder);
      return folder;
    } catch (error) {
      codes.push((error as NodeJS.ErrnoException).code);
    }
  }
  if (codes.includes('EACCES')) return { reason: 'tracefs is for root alone', remedy: AGAIN };
  const [usual = ''] = MOUNTS;
  if (!fs.existsSync(usual)) return { reason: 'this kernel has no tracefs' };
  return { reason: 'tracefs is not mounted', remedy: `mount -t tracefs tracefs ${usual}` };
}

function blindness(error: unknown): Blindness {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const denied = code === 'EACCES' || code === 'EPERM';
  return { reason: message, ...(denied && { remedy: AGAIN }) };
}

/**
 * A tracing instance of the kernel that is this command's alone, so that nobody else's tracing is
 * changed: buffers, events and filters of its own.
 * `Documentation/trace/ftrace.rst`, "Instances".
 */
export class TraceInstance {
  readonly #folder: string;
  readonly #lacking = new Map<string, string>();
  #closed = false;

  /** Makes one; or says why it can't. */
  static make(name: string): TraceInstance | Blindness {
    const instances = findInstances();
    if (typeof instances !== 'string') return instances;
    const folder = path.join(instances, name);
    try {
      fs.mkdirSync(folder);
    } catch (error) {
      return blindness(error);
    }
    const instance = new TraceInstance(folder);
    try {
      // The clock of process.hrtime.
      instance.#write('trace_clock', 'mono');
      return instance;
    } catch (error) {
      instance.close();
      return blindness(error);
    }
  }

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Events, such as `net:net_dev_xmit`, that can't be watched, and why. */
  get lacking(): ReadonlyMap<string, string> {
    return this.#lacking;
  }

  /** Records an event from now on, where the filter is true. */
  watch(event: string, filter: string): void {
    const folder = path.join('events', ...event.split(':'));
    try {
      this.#write(path.join(folder, 'filter'), filter);
      this.#write(path.join(folder, 'enable'), '1');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      this.#lacking.set(event, code === 'ENOENT' ? 'this kernel does not have it' : message);
    }
  }

  /** Ends recording; what was recorded. */
  stop(): string {
    this.#write('tracing_on', '0');
    return fs.readFileSync(path.join(this.#folder, 'trace'), 'utf8');
  }

  /** The instance is gone, and whatever it recorded. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    fs.rmdirSync(this.#folder);
  }

  #write(file: string, text: string): void {
    fs.writeFileSync(path.join(this.#folder, file), text);
  }
}
