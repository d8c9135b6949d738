import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  CpuInstanceType,
  GPU_GROUP_TYPES,
  GpuGroup,
  GpuType,
  cpuInstance,
  gpuIds,
} from "../../src/contract/hardware.ts";

describe("gpuIds", () => {
  const all = [
    "ADA_24",
    "ADA_32_PRO",
    "ADA_48_PRO",
    "ADA_80_PRO",
    "AMPERE_16",
    "AMPERE_24",
    "AMPERE_48",
    "AMPERE_80",
    "BLACKWELL_180",
    "BLACKWELL_96",
    "HOPPER_141",
  ].join(",");
  const cases: [title: string, choice: (GpuGroup | GpuType)[], wanted: string][] = [
    ["a group is its id", [GpuGroup.AMPERE_80], "AMPERE_80"],
    ["a type is its group without the others", [GpuType.NVIDIA_A40], "AMPERE_48,-NVIDIA RTX A6000"],
    ["the only type of a group is the group", [GpuType.NVIDIA_B200], "BLACKWELL_180"],
    [
      "all types of a group are the group",
      [GpuType.NVIDIA_A40, GpuType.NVIDIA_RTX_A6000],
      "AMPERE_48",
    ],
    ["a group wins over its types", [GpuType.NVIDIA_A40, GpuGroup.AMPERE_48], "AMPERE_48"],
    ["any is every group", [GpuType.NVIDIA_A40, GpuGroup.ANY], all],
    [
      "groups come first, then negations, each in alphabetical order",
      [GpuType.NVIDIA_L4, GpuGroup.ADA_24, GpuType.NVIDIA_A40],
      "ADA_24,AMPERE_24,AMPERE_48,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000,-NVIDIA RTX A6000",
    ],
    ["repeats count once", [GpuGroup.ADA_24, GpuGroup.ADA_24], "ADA_24"],
  ];
  for (const [title, choice, wanted] of cases) {
    test(title, () => assert.equal(gpuIds(choice), wanted));
  }
});

describe("the catalogue", () => {
  test("every GPU type but any is in exactly one group", () => {
    const inGroups = Object.values(GPU_GROUP_TYPES).flat().sort();
    const types = Object.values(GpuType).filter((type) => type !== "any");
    assert.deepEqual(inGroups, types.sort());
  });

  const instances: [type: CpuInstanceType, vcpus: number, memoryGb: number, maxDiskGb: number][] = [
    ["cpu3g-1-4", 1, 4, 10],
    ["cpu3g-2-8", 2, 8, 20],
    ["cpu3g-4-16", 4, 16, 40],
    ["cpu3g-8-32", 8, 32, 80],
    ["cpu3c-1-2", 1, 2, 10],
    ["cpu3c-2-4", 2, 4, 20],
    ["cpu3c-4-8", 4, 8, 40],
    ["cpu3c-8-16", 8, 16, 80],
    ["cpu5c-1-2", 1, 2, 15],
    ["cpu5c-2-4", 2, 4, 30],
    ["cpu5c-4-8", 4, 8, 60],
    ["cpu5c-8-16", 8, 16, 120],
  ];
  test("every CPU instance has its figures", () => {
    assert.deepEqual(instances.map(([type]) => type).sort(), Object.values(CpuInstanceType).sort());
    for (const [type, vcpus, memoryGb, maxDiskGb] of instances) {
      assert.deepEqual(cpuInstance(type), { vcpus, memoryGb, maxDiskGb });
    }
  });
});
