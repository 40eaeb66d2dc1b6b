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

/// Live instances for each thread that runs guests. One that has given way for a while keeps its slots, so that there are more than
/// threads; what each has touched stays in memory, so that there are not many.
const PER_THREAD: usize = 4;
/// What one slot holds. A component of more modules takes several slots; the most that may exist fit into the fewest slots.
const MEMORIES_PER_SLOT: usize = 8;
const TABLES_PER_SLOT: usize = 32;
const SLOTS_MIN: usize = 8;
const SLOTS_MAX: usize = 64;
/// As much as 32 bits can address: `limits.memory` bounds a guest, not its slot.
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// What the engine keeps about an instance; a limit, not a reservation. An interpreter with its libraries has thousands of
/// functions.
const INSTANCE_BYTES_MAX: usize = 64 << 20;
/// How much of a slot stays in memory. A thousand events of a compiled plugin touch 2 to 4 MiB.
const KEPT_BYTES: usize = 4 << 20;
const KEPT_TABLE_BYTES: usize = 64 << 10;

/// The slots of one engine. Cloning gives another handle to the same ones.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
}

/// Slots for one instance, free again when dropped.
pub(super) type Lease = OwnedSemaphorePermit;

impl Slots {
    /// Makes an engine with this configuration take its instances' memory from slots, for guests that run on so many threads.
    pub(super) fn reserve(config: &mut Config, threads: usize) -> Self {
        let slots = (PER_THREAD * threads).clamp(SLOTS_MIN, SLOTS_MAX);
        let mut pool = PoolingAllocationConfig::new();
        // Counts of instances bound nothing here: memories and tables are what is reserved.
        pool.total_memories(count(slots * MEMORIES_PER_SLOT))
            .total_tables(count(slots * TABLES_PER_SLOT))
            .total_stacks(count(slots))
            .total_component_instances(count(slots))
            .total_core_instances(count(slots * INSTANCES_MAX))
            .max_memories_per_component(count(MEMORIES_MAX))
            .max_tables_per_component(count(TABLES_MAX))
            .max_core_instances_per_component(count(INSTANCES_MAX))
            .max_tables_per_module(count(TABLES_MAX))
            .max_memory_size(MEMORY_BYTES_MAX)
            .table_elements(TABLE_ENTRIES_MAX)
            .max_component_instance_size(INSTANCE_BYTES_MAX)
            .max_core_instance_size(INSTANCE_BYTES_MAX)
            // The most that stay as their plugin left them, ready for its next call.
            .max_unused_warm_slots(count(2 * threads))
            .linear_memory_keep_resident(KEPT_BYTES)
            .table_keep_resident(KEPT_TABLE_BYTES)
            // Only pages that were written are wiped, where the kernel can say which (Linux 6.7).
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Self { free: Arc::new(Semaphore::new(slots)) }
    }

    /// How many slots an instance of the component takes.
    pub(super) fn needed(component: &Component) -> u32 {
        let Some(needs) = component.resources_required() else { return count(SLOTS_MIN) };
        let memories = needs.num_memories.div_ceil(count(MEMORIES_PER_SLOT));
        let tables = needs.num_tables.div_ceil(count(TABLES_PER_SLOT));
        memories.max(tables).clamp(1, count(SLOTS_MIN))
    }

    /// Waits for that many slots. None where the engine is gone.
    pub(super) async fn lease(&self, needed: u32) -> Option<Lease> {
        Arc::clone(&self.free).acquire_many_owned(needed).await.ok()
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
