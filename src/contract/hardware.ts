/**
 * The hardware catalogue: GPU groups and types, CPU instances, CUDA versions, data centres.
 * Values are exactly those of the Runpod platform. Const objects and unions, never `enum`, so the
 * API works under Node's own type stripping.
 */

export const GpuGroup = {
  ANY: "any",
  ADA_24: "ADA_24",
  ADA_32_PRO: "ADA_32_PRO",
  ADA_48_PRO: "ADA_48_PRO",
  ADA_80_PRO: "ADA_80_PRO",
  AMPERE_16: "AMPERE_16",
  AMPERE_24: "AMPERE_24",
  AMPERE_48: "AMPERE_48",
  AMPERE_80: "AMPERE_80",
  HOPPER_141: "HOPPER_141",
  BLACKWELL_96: "BLACKWELL_96",
  BLACKWELL_180: "BLACKWELL_180",
} as const;
export type GpuGroup = (typeof GpuGroup)[keyof typeof GpuGroup];

export const GpuType = {
  ANY: "any",
  NVIDIA_GEFORCE_RTX_4090: "NVIDIA GeForce RTX 4090",
  NVIDIA_GEFORCE_RTX_5090: "NVIDIA GeForce RTX 5090",
  NVIDIA_RTX_6000_ADA_GENERATION: "NVIDIA RTX 6000 Ada Generation",
  NVIDIA_RTX_PRO_6000_BLACKWELL_SERVER_EDITION: "NVIDIA RTX PRO 6000 Blackwell Server Edition",
  NVIDIA_RTX_PRO_6000_BLACKWELL_WORKSTATION_EDITION:
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
  NVIDIA_RTX_PRO_6000_BLACKWELL_MAX_Q_WORKSTATION_EDITION:
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
  NVIDIA_H100_80GB_HBM3: "NVIDIA H100 80GB HBM3",
  NVIDIA_RTX_A4000: "NVIDIA RTX A4000",
  NVIDIA_RTX_A4500: "NVIDIA RTX A4500",
  NVIDIA_RTX_4000_ADA_GENERATION: "NVIDIA RTX 4000 Ada Generation",
  NVIDIA_RTX_2000_ADA_GENERATION: "NVIDIA RTX 2000 Ada Generation",
  NVIDIA_RTX_A5000: "NVIDIA RTX A5000",
  NVIDIA_L4: "NVIDIA L4",
  NVIDIA_GEFORCE_RTX_3090: "NVIDIA GeForce RTX 3090",
  NVIDIA_A40: "NVIDIA A40",
  NVIDIA_RTX_A6000: "NVIDIA RTX A6000",
  NVIDIA_A100_80GB_PCIe: "NVIDIA A100 80GB PCIe",
  NVIDIA_A100_SXM4_80GB: "NVIDIA A100-SXM4-80GB",
  NVIDIA_H200: "NVIDIA H200",
  NVIDIA_B200: "NVIDIA B200",
} as const;
export type GpuType = (typeof GpuType)[keyof typeof GpuType];

/** Types per group, as the platform's negation rule needs them. */
export const GPU_GROUP_TYPES: Record<Exclude<GpuGroup, "any">, readonly GpuType[]> = {
  ADA_24: [GpuType.NVIDIA_GEFORCE_RTX_4090],
  ADA_32_PRO: [GpuType.NVIDIA_GEFORCE_RTX_5090],
  ADA_48_PRO: [GpuType.NVIDIA_RTX_6000_ADA_GENERATION],
  ADA_80_PRO: [GpuType.NVIDIA_H100_80GB_HBM3],
  AMPERE_16: [
    GpuType.NVIDIA_RTX_A4000,
    GpuType.NVIDIA_RTX_A4500,
    GpuType.NVIDIA_RTX_4000_ADA_GENERATION,
    GpuType.NVIDIA_RTX_2000_ADA_GENERATION,
  ],
  AMPERE_24: [GpuType.NVIDIA_RTX_A5000, GpuType.NVIDIA_L4, GpuType.NVIDIA_GEFORCE_RTX_3090],
  AMPERE_48: [GpuType.NVIDIA_A40, GpuType.NVIDIA_RTX_A6000],
  AMPERE_80: [GpuType.NVIDIA_A100_80GB_PCIe, GpuType.NVIDIA_A100_SXM4_80GB],
  HOPPER_141: [GpuType.NVIDIA_H200],
  BLACKWELL_96: [
    GpuType.NVIDIA_RTX_PRO_6000_BLACKWELL_SERVER_EDITION,
    GpuType.NVIDIA_RTX_PRO_6000_BLACKWELL_WORKSTATION_EDITION,
    GpuType.NVIDIA_RTX_PRO_6000_BLACKWELL_MAX_Q_WORKSTATION_EDITION,
  ],
  BLACKWELL_180: [GpuType.NVIDIA_B200],
};

export const CpuInstanceType = {
  CPU3G_1_4: "cpu3g-1-4",
  CPU3G_2_8: "cpu3g-2-8",
  CPU3G_4_16: "cpu3g-4-16",
  CPU3G_8_32: "cpu3g-8-32",
  CPU3C_1_2: "cpu3c-1-2",
  CPU3C_2_4: "cpu3c-2-4",
  CPU3C_4_8: "cpu3c-4-8",
  CPU3C_8_16: "cpu3c-8-16",
  CPU5C_1_2: "cpu5c-1-2",
  CPU5C_2_4: "cpu5c-2-4",
  CPU5C_4_8: "cpu5c-4-8",
  CPU5C_8_16: "cpu5c-8-16",
} as const;
export type CpuInstanceType = (typeof CpuInstanceType)[keyof typeof CpuInstanceType];

export interface CpuInstance {
  vcpus: number;
  memoryGb: number;
  /** Largest container disk: 10 GB a vCPU, 15 GB on the fifth generation. */
  maxDiskGb: number;
}

/** Reads the figures out of an instance name such as `cpu5c-4-8`. */
export function cpuInstance(type: CpuInstanceType): CpuInstance {
  const [family = "", vcpus = "0", memory = "0"] = type.split("-");
  const diskPerVcpu = family === "cpu5c" ? 15 : 10;
  return {
    vcpus: Number(vcpus),
    memoryGb: Number(memory),
    maxDiskGb: Number(vcpus) * diskPerVcpu,
  };
}

export const CudaVersion = {
  V11_8: "11.8",
  V12_0: "12.0",
  V12_1: "12.1",
  V12_2: "12.2",
  V12_3: "12.3",
  V12_4: "12.4",
  V12_5: "12.5",
  V12_6: "12.6",
  V12_7: "12.7",
  V12_8: "12.8",
  V12_9: "12.9",
  V13_0: "13.0",
} as const;
export type CudaVersion = (typeof CudaVersion)[keyof typeof CudaVersion];

export const DataCenter = {
  US_CA_2: "US-CA-2",
  US_IL_1: "US-IL-1",
  US_KS_2: "US-KS-2",
  US_MO_1: "US-MO-1",
  US_MO_2: "US-MO-2",
  US_NC_2: "US-NC-2",
  US_NE_1: "US-NE-1",
  US_WA_1: "US-WA-1",
  EU_CZ_1: "EU-CZ-1",
  EU_RO_1: "EU-RO-1",
  EUR_NO_1: "EUR-NO-1",
} as const;
export type DataCenter = (typeof DataCenter)[keyof typeof DataCenter];

/** Data centres that have CPU endpoints. */
export const CPU_DATACENTERS: readonly DataCenter[] = [DataCenter.EU_RO_1];

export const ServerlessScalerType = {
  QUEUE_DELAY: "QUEUE_DELAY",
  REQUEST_COUNT: "REQUEST_COUNT",
} as const;
export type ServerlessScalerType = (typeof ServerlessScalerType)[keyof typeof ServerlessScalerType];

export const ServerlessType = { QB: "QB", LB: "LB" } as const;
export type ServerlessType = (typeof ServerlessType)[keyof typeof ServerlessType];

/**
 * The platform's `gpuIds` string: groups, then for a type its group minus the group's other types.
 * `any` means every group. Order: groups, then negations, each alphabetical without case.
 * Source: spec/sdk.md 14.3.
 */
export function gpuIds(choice: readonly (GpuGroup | GpuType)[]): string {
  const groups = Object.keys(GPU_GROUP_TYPES) as Exclude<GpuGroup, "any">[];
  if (choice.includes("any")) return [...groups].sort(caseless).join(",");
  const positives = new Set<string>();
  const negatives = new Set<string>();
  for (const group of groups) {
    const types = GPU_GROUP_TYPES[group];
    const chosen = types.filter((type) => choice.includes(type));
    if (choice.includes(group)) positives.add(group);
    else if (chosen.length > 0) {
      positives.add(group);
      for (const type of types) if (!chosen.includes(type)) negatives.add(`-${type}`);
    }
  }
  return [...[...positives].sort(caseless), ...[...negatives].sort(caseless)].join(",");
}

function caseless(a: string, b: string): number {
  return a.toLowerCase() < b.toLowerCase() ? -1 : 1;
}
