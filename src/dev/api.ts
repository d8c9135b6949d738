export function describeApi(_served: unknown, _url: string): unknown { return {}; }
