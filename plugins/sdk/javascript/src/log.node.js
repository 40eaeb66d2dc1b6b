// The log where no engine is: a test's stderr.
export const write = (level, message) => console.error(`${level}: ${message}`);
