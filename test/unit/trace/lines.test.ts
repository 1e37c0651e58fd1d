import assert from 'node:assert/strict';

import { parseTrace } from '#lib/trace/lines';

/** As the kernels wrote them, one frame's way on each. */
const RECORDED = {
  '6.1': `# tracer: nop
#
# entries-in-buffer/entries-written: 291/291   #P:2
#
#                                _-----=> irqs-off/BH-disabled
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
            node-162     [001] b....     9.501676: net_dev_start_xmit: dev=vnt162 queue_mapping=0 skbaddr=00000000a075dbdd vlan_tagged=0 vlan_proto=0x0000 vlan_tci=0x0000 protocol=0x0800 ip_summed=0 len=51 data_len=0 network_offset=14 transport_offset_valid=1 transport_offset=34 tx_flags=0 gso_size=0 gso_segs=0 gso_type=0x0
            node-162     [001] D..3.     9.501726: sched_waking: comm=vhost-162 pid=169 prio=120 target_cpu=000
          <idle>-0       [000] d..2.     9.501946: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=vhost-162 next_pid=169 next_prio=120
       vhost-162-169     [000] .....     9.502105: skb_copy_datagram_iovec: skbaddr=00000000a075dbdd len=51
            node-162     [001] ...1.     9.508935: sys_read(fd: 15, buf: 7ffd090d65c0, count: 8)
            node-162     [001] ...1.     9.508984: sys_read -> 0x8
            node-162     [001] ...1.     9.514230: sys_write(fd: 17, buf: 7ffd090d5108, count: 8)
            node-162     [001] d..3.     9.514278: sched_waking: comm=vhost-162 pid=169 prio=120 target_cpu=000
          <idle>-0       [000] d..2.     9.514638: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=vhost-162 next_pid=169 next_prio=120
       vhost-162-169     [000] b....     9.515867: netif_receive_skb: dev=vnt162 skbaddr=00000000eb216507 len=37
`,
  '6.12': `            node-206     [001] b....    10.641321: net_dev_start_xmit: dev=vnt206 queue_mapping=0 skbaddr=0000000016ed29e8 vlan_tagged=0 vlan_proto=0x0000 vlan_tci=0x0000 protocol=0x0800 ip_summed=0 len=51 data_len=0 network_offset=14 transport_offset_valid=1 transport_offset=34 tx_flags=0 gso_size=0 gso_segs=0 gso_type=0x0
            node-206     [001] D..3.    10.641363: sched_waking: comm=vhost-206 pid=213 prio=120 target_cpu=000
          <idle>-0       [000] d..2.    10.641875: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=vhost-206 next_pid=213 next_prio=120
       vhost-206-213     [000] .....    10.642032: skb_copy_datagram_iovec: skbaddr=0000000016ed29e8 len=51
            node-206     [001] ...1.    10.647384: sys_read(fd: 15, buf: 7ffe0c76f230, count: 8)
            node-206     [001] ...1.    10.647472: sys_read -> 0x8
            node-206     [001] ...1.    10.651294: sys_write(fd: 17, buf: 7ffe0c76dd78, count: 8)
            node-206     [001] d..3.    10.651324: sched_waking: comm=vhost-206 pid=213 prio=120 target_cpu=000
             cat-198     [000] d..2.    10.651936: sched_switch: prev_comm=cat prev_pid=198 prev_prio=120 prev_state=R ==> next_comm=vhost-206 next_pid=213 next_prio=120
       vhost-206-213     [000] b....    10.652221: netif_receive_skb: dev=vnt206 skbaddr=000000007036dd09 len=37
`,
  '7.3': `            node-165     [000] b....    16.450199: net_dev_start_xmit: dev=vnt165 queue_mapping=0 skbaddr=00000000499e6a01 vlan_tagged=0 vlan_proto=0x0000 vlan_tci=0x0000 protocol=0x0800 ip_summed=0 len=51 data_len=0 network_offset=14 transport_offset_valid=1 transport_offset=34 tx_flags=0 gso_size=0 gso_segs=0 gso_type=0x0 net_cookie=11
            node-165     [000] D..3.    16.450239: sched_waking: comm=vhost-165 pid=173 prio=120 target_cpu=001
          <idle>-0       [001] d..2.    16.450559: sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=vhost-165 next_pid=173 next_prio=120
       vhost-165-173     [001] .....    16.450740: skb_copy_datagram_iovec: skbaddr=00000000499e6a01 len=51
            node-165     [000] .....    16.455588: sys_read(fd: 0x15, buf: 0x7fffdedef1b0, count: 8)
            node-165     [000] .....    16.455617: sys_read -> 0x8
            node-165     [000] .....    16.459375: sys_write(fd: 0x17, buf: 0x7fffdededcf8 (01:00:00:00:00:00:00:00), count: 8)
            node-165     [000] d..3.    16.459442: sched_waking: comm=vhost-165 pid=173 prio=120 target_cpu=001
          <idle>-0       [001] d..2.    16.462639: sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=vhost-165 next_pid=173 next_prio=120
       vhost-165-173     [001] b....    16.462861: netif_receive_skb: dev=vnt165 skbaddr=00000000499e6a01 len=37 net_cookie=11
`,
};

describe('parseTrace()', () => {
  const names = [
    'net_dev_start_xmit',
    'sched_waking',
    'sched_switch',
    'skb_copy_datagram_iovec',
    'sys_enter_read',
    'sys_exit_read',
    'sys_enter_write',
    'sched_waking',
    'sched_switch',
    'netif_receive_skb',
  ];

  for (const [kernel, text] of Object.entries(RECORDED)) {
    it(`reads the lines of Linux ${kernel}`, () => {
      const events = parseTrace(text);
      assert.deepEqual(
        events.map(({ name }) => name),
        names,
      );
      const [queued, woken, switched, copied, read, counted, written] = events;
      assert.match(queued?.fields['dev'] ?? '', /^vnt\d+$/);
      assert.equal(queued?.fields['len'], '51');
      assert.equal(queued.task, 'node');
      assert.equal(copied?.fields['skbaddr'], queued.fields['skbaddr']);
      assert.equal(copied?.task, woken?.fields['comm']);
      assert.equal(copied?.tid, Number(woken?.fields['pid']));
      assert.equal(switched?.fields['prev_state'], 'R');
      assert.equal(switched.fields['next_pid'], woken?.fields['pid']);
      assert.equal(Number.parseInt(read?.fields['fd'] ?? '', 16), 0x15);
      assert.equal(counted?.fields['result'], '0x8');
      assert.equal(Number.parseInt(written?.fields['fd'] ?? '', 16), 0x17);
      assert.equal(written?.fields['count'], '8');
    });
  }

  it('takes thread, CPU and time apart', () => {
    const [event] = parseTrace(RECORDED['6.12']);
    const { task, tid, cpu, nanoseconds } = event ?? {};
    assert.deepEqual(
      { task, tid, cpu, nanoseconds },
      {
        task: 'node',
        tid: 206,
        cpu: 1,
        nanoseconds: 10_641_321_000n,
      },
    );
  });

  it('reads names with spaces and dashes', () => {
    const [event] = parseTrace(
      ' a-b c-12 [1]-7 [003] d..2. 1.000002: sched_switch: prev_comm=a-b c-12 [1] prev_pid=7 ' +
        'prev_prio=120 prev_state=R+ ==> next_comm=x y next_pid=8 next_prio=120',
    );
    assert.equal(event?.task, 'a-b c-12 [1]');
    assert.equal(event.tid, 7);
    assert.equal(event.cpu, 3);
    assert.equal(event.fields['prev_comm'], 'a-b c-12 [1]');
    assert.equal(event.fields['prev_state'], 'R+');
    assert.equal(event.fields['next_comm'], 'x y');
  });

  it('is not misled by what a pointer points to', () => {
    const [event] = parseTrace(
      ' n-1 [000] ..... 1.000000: sys_write(fd: 0xa, buf: 0x7f (66:64) "fd: 3, count: 4", count: 5)',
    );
    assert.equal(event?.fields['fd'], 'a');
  });

  it('leaves out what is no event', () => {
    assert.deepEqual(parseTrace(''), []);
    assert.deepEqual(parseTrace('# tracer: nop\nCPU:1 [LOST 5 EVENTS]\n n-1 [000] garbage\n'), []);
  });
});
