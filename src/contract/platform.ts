/** The platform that workers run on: what packages with parts for one platform are installed for. */

export interface WorkerPlatform {
  /** As Node calls it: `linux`, `darwin`, `win32`. */
  os: string;
  /** As Node calls it: `x64`, `arm64`. */
  cpu: string;
  /** `glibc` or `musl` on Linux, null elsewhere. */
  libc: "glibc" | "musl" | null;
}

/** What workers in containers run on. Source: Runpod's images. */
export const CONTAINER_PLATFORM: WorkerPlatform = { os: "linux", cpu: "x64", libc: "glibc" };
