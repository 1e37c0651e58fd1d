/** What an error says, as plain data: name and message are not its own properties. */
export function errorFields(error: unknown): object {
  const { name, message } = error as Error;
  return { name, message, ...(error as object) };
}
