/**
 * Runs what calls functions of the package's users. What they throw is no failure of whoever calls
 * them, and must not end its work half-way: the process is told of it in a turn of its own.
 */
export function callListeners(body: () => void): void {
  try {
    body();
  } catch (error) {
    setImmediate(() => {
      throw error;
    });
  }
}
