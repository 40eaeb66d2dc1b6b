;; A guest for the sandbox's own tests: what it does with an event is said by the first byte of the event's value.
;;   o or a tombstone: one upsert (key, offset)      r reject   h halt   t abort   l endless loop   s endless recursion
;;   a allocates without end   w one outcome too many   b much work   c the clock   n a random number   m many changes
;;   f floods the log   F for ever   p says "panicked at x" on stderr and aborts
;; The tests put the descriptor's bytes, the imports and the world in place of the words in braces.
(module $probe
  {IMPORTS}
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $sink (mut i32) (i32.const 0))
  (data (i32.const 1024) "{DATA}")
  (data (i32.const 512) "no such order\1b[31m")
  (data (i32.const 544) "stop here")
  (data (i32.const 560) "panicked at x\0a")

  (func $alloc (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))) (then
      (if (i32.eq (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1))) (i32.const -1))
        (then unreachable))))
    (local.get $at))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $alloc (local.get 3)))

  (func (export "describe") (result i32) (i32.const {DESCRIPTOR}))

  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (global.get $sink)))
  (func $spin (param $n i32)
    (loop $again
      (global.set $sink (i32.add (global.get $sink) (i32.const 1)))
      (br_if $again (i32.ne (global.get $sink) (local.get $n)))))
  (func $abort_on_purpose unreachable)

  ;; list of one upsert (key, number), written to the outcome
  (func $upsert (param $event i32) (param $out i32) (param $count i32) (param $number i64) (local $c i32) (local $v i32) (local $i i32)
    (local.set $c (call $alloc (i32.mul (local.get $count) (i32.const 12))))
    (i32.store8 (local.get $out) (i32.const 0))
    (i32.store offset=4 (local.get $out) (local.get $c))
    (i32.store offset=8 (local.get $out) (local.get $count))
    (local.set $v (call $alloc (i32.const 32)))
    (i32.store8 (local.get $v) (i32.const 5))
    (i32.store offset=8 (local.get $v) (i32.load offset=24 (local.get $event)))
    (i32.store offset=12 (local.get $v) (i32.load offset=28 (local.get $event)))
    (i32.store8 offset=16 (local.get $v) (i32.const 2))
    (i64.store offset=24 (local.get $v) (local.get $number))
    (loop $each
      (i32.store (local.get $c) (i32.const 0))
      (i32.store offset=4 (local.get $c) (local.get $v))
      (i32.store offset=8 (local.get $c) (i32.const 2))
      (local.set $c (i32.add (local.get $c) (i32.const 12)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $i) (local.get $count)))))
  (func $say (param $out i32) (param $case i32) (param $text i32) (param $length i32)
    (i32.store8 (local.get $out) (local.get $case))
    (i32.store offset=4 (local.get $out) (local.get $text))
    (i32.store offset=8 (local.get $out) (local.get $length)))

  (func $one (param $event i32) (param $out i32) (local $op i32) (local $i i32)
    (local.set $op (i32.const 111))
    (if (i32.load8_u offset=32 (local.get $event)) (then
      (local.set $op (i32.load8_u (i32.load offset=40 (local.get $event))))))
    (if (i32.eq (local.get $op) (i32.const 116)) (then (call $abort_on_purpose)))
    (if (i32.eq (local.get $op) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
    (if (i32.eq (local.get $op) (i32.const 115)) (then (drop (call $recurse (i32.const 0)))))
    (if (i32.eq (local.get $op) (i32.const 97)) (then (loop $more (drop (call $alloc (i32.const 1048576))) (br $more))))
    (if (i32.eq (local.get $op) (i32.const 98)) (then (call $spin (i32.add (global.get $sink) (i32.const 60000000)))))
    (if (i32.eq (local.get $op) (i32.const 102)) (then
      (loop $flood
        (call $log (i32.const 2) (i32.const 8192) (i32.const 4096))
        (br_if $flood (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000))))))
    (if (i32.eq (local.get $op) (i32.const 70)) (then (loop $again
      (call $log (i32.const 0) (i32.const 512) (i32.const 1)) (br $again))))
    (if (i32.eq (local.get $op) (i32.const 112)) (then (call $stderr) (call $abort_on_purpose)))
    (if (i32.eq (local.get $op) (i32.const 114)) (then (call $say (local.get $out) (i32.const 1) (i32.const 512) (i32.const 18)) return))
    (if (i32.eq (local.get $op) (i32.const 104)) (then (call $say (local.get $out) (i32.const 2) (i32.const 544) (i32.const 9)) return))
    (if (i32.eq (local.get $op) (i32.const 109)) (then (call $upsert (local.get $event) (local.get $out) (i32.const 20000) (i64.const 0)) return))
    (if (i32.eq (local.get $op) (i32.const 99)) (then (call $upsert (local.get $event) (local.get $out) (i32.const 1) (call $clock)) return))
    (if (i32.eq (local.get $op) (i32.const 110)) (then (call $upsert (local.get $event) (local.get $out) (i32.const 1) (call $random)) return))
    (call $upsert (local.get $event) (local.get $out) (i32.const 1) (i64.load (local.get $event))))

  (func (export "apply") (param $topic i32) (param $length i32) (param $partition i32) (param $events i32) (param $n i32) (result i32)
    (local $i i32) (local $out i32) (local $count i32) (local $event i32) (local $ret i32)
    (local.set $out (call $alloc (i32.mul (i32.add (local.get $n) (i32.const 1)) (i32.const 12))))
    (local.set $count (local.get $n))
    (loop $each
      (local.set $event (i32.add (local.get $events) (i32.mul (local.get $i) (i32.const 56))))
      (call $one (local.get $event) (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 12))))
      (if (i32.load8_u offset=32 (local.get $event)) (then
        (if (i32.eq (i32.load8_u (i32.load offset=40 (local.get $event))) (i32.const 119)) (then
          (local.set $count (i32.add (local.get $n) (i32.const 1)))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $i) (local.get $n))))
    (local.set $ret (call $alloc (i32.const 8)))
    (i32.store (local.get $ret) (local.get $out))
    (i32.store offset=4 (local.get $ret) (local.get $count))
    (local.get $ret))
  {FUNCTIONS}
)
