//! The guest's memory: freed pieces of a size wait in a list of their own, and the next one of that size is one of them.
//!
//! A projection makes and frees many small texts and vectors for each event, on one thread, and an instance lives for one
//! call: nothing is searched for, split or joined. What is large goes to the standard allocator.
//!
//! Invariants: a piece's class follows from its size alone, so it returns to the list that it came from; what is taken from
//! the standard allocator for small pieces is never given back.

#![allow(unsafe_code, reason = "an allocator is unsafe by its nature; wasm32-unknown-unknown has one thread")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

/// Pieces are multiples of this, and aligned to it: enough for every type that Rust has.
const GRAIN: usize = 16;
/// So pieces of up to 512 bytes have a class.
const CLASSES: usize = 32;
/// How much is taken for small pieces at a time.
const RUN_BYTES: usize = 64 << 10;

#[global_allocator]
static MEMORY: Memory =
    Memory { free: [const { Cell::new(null_mut()) }; CLASSES], next: Cell::new(null_mut()), left: Cell::new(0) };

struct Memory {
    /// For each class the piece that was freed last; its first word is the one before it.
    free: [Cell<*mut u8>; CLASSES],
    /// What has not been handed out yet of the run that was taken last.
    next: Cell<*mut u8>,
    left: Cell<usize>,
}

// SAFETY: a module for wasm32-unknown-unknown without the threads proposal has one thread.
unsafe impl Sync for Memory {}

/// None where the piece is not small.
fn class(layout: Layout) -> Option<usize> {
    // A size of 0 is never asked for, but would do no harm: it wraps, and is not small.
    let class = layout.size().wrapping_sub(1) / GRAIN;
    (class < CLASSES && layout.align() <= GRAIN).then_some(class)
}

impl Memory {
    /// A piece that was never handed out.
    #[cold]
    #[inline(never)]
    fn fresh(&self, class: usize) -> *mut u8 {
        let bytes = (class + 1) * GRAIN;
        if self.left.get() < bytes {
            // What is left of the old run is smaller than a small piece: it is lost.
            let Ok(run) = Layout::from_size_align(RUN_BYTES, GRAIN) else { return null_mut() };
            // SAFETY: the size is not 0.
            let next = unsafe { System.alloc(run) };
            if next.is_null() {
                return next;
            }
            self.next.set(next);
            self.left.set(RUN_BYTES);
        }
        let piece = self.next.get();
        // SAFETY: at least `bytes` are left of the run behind `piece`.
        self.next.set(unsafe { piece.add(bytes) });
        self.left.set(self.left.get() - bytes);
        piece
    }
}

// SAFETY: a piece is handed out once until it is freed, is as large as its class, which is not smaller than what was asked for,
// and aligned to `GRAIN`, as every multiple of it within a run is; all else is System's.
unsafe impl GlobalAlloc for Memory {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        let Some(class) = class(layout) else { return unsafe { System.alloc(layout) } };
        let piece = self.free[class].get();
        if piece.is_null() {
            return self.fresh(class);
        }
        // SAFETY: a freed piece holds the one before it in its first word.
        self.free[class].set(unsafe { piece.cast::<*mut u8>().read() });
        piece
    }

    #[inline(never)]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match class(layout) {
            Some(class) => {
                // SAFETY: the piece is ours again, at least as large and as aligned as a pointer.
                unsafe { piece.cast::<*mut u8>().write(self.free[class].get()) };
                self.free[class].set(piece);
            }
            // SAFETY: what has no class came from System.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the alignment is a valid one, and the size is the caller's, who promises that it is valid for it.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class(layout), class(wanted)) {
            (Some(old), Some(new)) if old == new => return piece,
            // SAFETY: what has no class came from System, and stays there.
            (None, None) => return unsafe { System.realloc(piece, layout, size) },
            _ => {}
        }
        // SAFETY: the caller's promises hold for both; both pieces hold the lesser size, and the new one was not in use.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(piece, moved, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            moved
        }
    }
}
