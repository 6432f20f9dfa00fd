// Why a call was not sent, or may not have been.

/** An option of a call that cannot be. `option`: its name. */
export class InvalidOptions extends Error {
  readonly option: string;

  constructor(option: string, reason: string) {
    super(`${option}: ${reason}`);
    this.name = "InvalidOptions";
    this.option = option;
  }
}

/** The server replied with an error; nothing was accepted. */
export class ServerRefused extends Error {
  override readonly name = "ServerRefused";
}

/** The server cannot be used; nothing was accepted. */
export class ServerUnavailable extends Error {
  override readonly name = "ServerUnavailable";
  readonly ids: readonly string[];

  constructor(reason: string, ids: readonly string[], options?: { cause?: unknown }) {
    super(`no answer from the server (${reason})`, options);
    this.ids = ids;
  }
}

/** No reply came: the calls may or may not have been accepted. `ids`: of all of them. */
export class EnqueueUncertain extends Error {
  override readonly name = "EnqueueUncertain";
  readonly ids: readonly string[];

  constructor(reason: string, ids: readonly string[], options?: { cause?: unknown }) {
    super(`the calls may or may not have been accepted (${reason})`, options);
    this.ids = ids;
  }
}
