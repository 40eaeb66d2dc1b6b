//! Where instances live: address space that is reserved once, in slots that are wiped and used again.
//!
//! A fresh instance in fresh memory costs a page fault for every 4 KiB that it touches, which was a sixth of a plugin's time.
//! A slot keeps its pages; wasmtime writes the module's first contents over what the last guest left before the next one
//! sees it. Invariants: there are never more live instances than slots, since the next one waits; a slot holds whatever a
//! limit can allow, so that no plugin runs here that would not run elsewhere, nor the other way round.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::instance::{INSTANCES_MAX, MEMORIES_MAX, TABLE_ENTRIES_MAX, TABLES_MAX};

/// Memories of all live instances. Each takes 4 GiB of addresses, and nothing else until it is used.
const MEMORIES: u32 = 64;
/// Tables for each memory: a component has its own and one of the shims that join its modules.
const TABLES_PER_MEMORY: u32 = 4;
/// As much as 32 bits can address: `limits.memory` bounds a guest, not its slot.
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// What the engine keeps about an instance; a limit, not a reservation. An interpreter with its libraries has thousands of
/// functions.
const INSTANCE_BYTES_MAX: usize = 64 << 20;
/// How much of a slot stays in memory. A thousand events of a compiled plugin touch 2 to 4 MiB.
const KEPT_BYTES: usize = 8 << 20;
/// The same where the kernel cannot say which pages were written (before Linux 6.7): all of it is wiped each time.
const KEPT_BYTES_WITHOUT_SCAN: usize = 4 << 20;
const KEPT_TABLE_BYTES: usize = 64 << 10;

/// The slots of one engine. Cloning gives another handle to the same ones.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
}

/// Slots for one instance, free again when dropped.
pub(super) type Lease = OwnedSemaphorePermit;

impl Slots {
    /// Makes an engine with this configuration take its instances' memory from slots. `warm` of them stay as the last plugin
    /// left them, for its next call; of the others, too, no more than was ever in use at once has memory.
    pub(super) fn reserve(config: &mut Config, warm: usize) -> Self {
        let scan = PoolingAllocationConfig::is_pagemap_scan_available();
        let mut pool = PoolingAllocationConfig::new();
        // Counts of instances bound nothing here: memories and tables are what is reserved.
        pool.total_memories(MEMORIES)
            .total_tables(MEMORIES * TABLES_PER_MEMORY)
            .total_stacks(MEMORIES)
            .total_component_instances(MEMORIES)
            .total_core_instances(MEMORIES * count(INSTANCES_MAX))
            .max_memories_per_component(count(MEMORIES_MAX))
            .max_tables_per_component(count(TABLES_MAX))
            .max_core_instances_per_component(count(INSTANCES_MAX))
            .max_tables_per_module(count(TABLES_MAX))
            .max_memory_size(MEMORY_BYTES_MAX)
            .table_elements(TABLE_ENTRIES_MAX)
            .max_component_instance_size(INSTANCE_BYTES_MAX)
            .max_core_instance_size(INSTANCE_BYTES_MAX)
            .max_unused_warm_slots(count(warm))
            .linear_memory_keep_resident(if scan { KEPT_BYTES } else { KEPT_BYTES_WITHOUT_SCAN })
            .table_keep_resident(KEPT_TABLE_BYTES)
            .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No });
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Self { free: Arc::new(Semaphore::new(MEMORIES as usize)) }
    }

    /// How many slots an instance of the component takes.
    pub(super) fn needed(component: &Component) -> u32 {
        let Some(needs) = component.resources_required() else { return MEMORIES };
        needs.num_memories.max(needs.num_tables.div_ceil(TABLES_PER_MEMORY)).clamp(1, MEMORIES)
    }

    /// Waits for that many slots. None where the engine is gone.
    pub(super) async fn lease(&self, needed: u32) -> Option<Lease> {
        Arc::clone(&self.free).acquire_many_owned(needed).await.ok()
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
