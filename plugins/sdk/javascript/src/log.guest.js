// The engine's log, in the sandbox.
import log from 'laterna:projection/log@0.1.0';

export const write = (level, message) => log.write(level, message);
