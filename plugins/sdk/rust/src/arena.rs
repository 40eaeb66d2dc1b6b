//! The guest's memory: an arena that only moves forward, because an instance lives for one call.
//!
//! Nothing that is freed is searched for and reused, but for the last piece, which growing strings and vectors are. What does
//! not fit goes to the standard allocator, so that no event fails that would not fail without the arena.

#![allow(unsafe_code, reason = "an allocator is unsafe by its nature; wasm32-unknown-unknown has one thread")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How much the arena takes, of the 64 MiB that an instance has by default: about what a thousand events of 1 KB need.
const ARENA_BYTES: usize = 12 << 20;
const PAGE_BYTES: usize = 64 << 10;

#[global_allocator]
static ARENA: Arena = Arena { begin: Cell::new(0), next: Cell::new(0), end: Cell::new(0) };

struct Arena {
    begin: Cell<usize>,
    next: Cell<usize>,
    /// 0: not taken yet. Equal to `begin`: the memory's limit is too small for it.
    end: Cell<usize>,
}

// SAFETY: a module for wasm32-unknown-unknown without the threads proposal has one thread.
unsafe impl Sync for Arena {}

impl Arena {
    /// Where `layout` fits, if it does.
    fn place(&self, layout: Layout) -> Option<usize> {
        if self.end.get() == 0 {
            let before = core::arch::wasm32::memory_grow(0, ARENA_BYTES / PAGE_BYTES);
            let (begin, bytes) = if before == usize::MAX { (1, 0) } else { (before * PAGE_BYTES, ARENA_BYTES) };
            self.begin.set(begin);
            self.next.set(begin);
            self.end.set(begin + bytes);
        }
        let at = self.next.get().checked_next_multiple_of(layout.align())?;
        let next = at.checked_add(layout.size())?;
        (next <= self.end.get()).then(|| {
            self.next.set(next);
            at
        })
    }

    fn holds(&self, at: usize) -> bool {
        (self.begin.get()..self.end.get()).contains(&at)
    }
}

// SAFETY: a piece of the arena is handed out once, aligned and inside the memory that was grown for it; all else is System's.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.place(layout) {
            Some(at) => at as *mut u8,
            // SAFETY: the caller's promise is the same.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let at = piece as usize;
        if !self.holds(at) {
            // SAFETY: what does not lie in the arena came from System.
            unsafe { System.dealloc(piece, layout) }
        } else if at + layout.size() == self.next.get() {
            self.next.set(at);
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let at = piece as usize;
        if !self.holds(at) {
            // SAFETY: what does not lie in the arena came from System.
            return unsafe { System.realloc(piece, layout, size) };
        }
        if at + layout.size() == self.next.get() && size <= self.end.get() - at {
            self.next.set(at + size);
            return piece;
        }
        if size <= layout.size() {
            return piece;
        }
        // SAFETY: the alignment is a valid one, and the size is the caller's, who promises that it is valid for it.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both pieces are valid for the old size, and the new one was not handed out before.
            unsafe { std::ptr::copy_nonoverlapping(piece, new, layout.size()) };
        }
        new
    }
}
