// What comes over the stream, as pkg/metrics/cluster.go has it; a Go test holds
// the two together. Go writes an empty list as null where it is always written.

export interface Cluster {
  time: string;
  name: string;
  cards: Card[] | null;
  gateway?: Gateway;
  volumes?: Volume[];
  jobs?: Job[];
  events?: Event[];
  stripe?: Stripe;
  film?: Film;
}

export interface Card {
  id: string;
  addr: string;
  state: string;
  sync: string;
  slow?: boolean;
  why?: string;
  used_bytes: number;
  capacity_bytes: number;
  read_only?: boolean;
  reads_per_second: number;
  writes_per_second: number;
  read_bytes_per_second: number;
  write_bytes_per_second: number;
  host?: Host;
}

export interface Host {
  cpu: number;
  memory_used_bytes: number;
  memory_bytes: number;
  celsius?: number;
  net_in_bytes_per_second: number;
  net_out_bytes_per_second: number;
  disk_in_bytes_per_second: number;
  disk_out_bytes_per_second: number;
}

export interface Gateway {
  id: string;
  version: string;
  uptime_seconds: number;
  health: string;
  reads_per_second: number;
  writes_per_second: number;
  read_bytes_per_second: number;
  write_bytes_per_second: number;
  read_p50_seconds: number;
  read_p99_seconds: number;
  write_p50_seconds: number;
  write_p99_seconds: number;
  dirty_bytes: number;
  hedged_reads_per_second: number;
  hedged_reads: number;
}

export interface Volume {
  name: string;
  state: string;
  why?: string;
  size_bytes: number;
  stored_bytes: number;
  block_size_bytes: number;
  data_chunks: number;
  parity_chunks: number;
  under_protected_blocks: number;
}

export interface Job {
  kind: string;
  volume: string;
  node?: string;
  done: number;
  bytes_per_second: number;
  remaining_seconds: number;
  paused?: boolean;
}

export interface Event {
  time: string;
  level: string;
  node?: string;
  volume?: string;
  text: string;
}

export interface Stripe {
  volume: string;
  offset: number;
  block: number;
  version: string;
  zeroes?: boolean;
  data_chunks: number;
  parity_chunks: number;
  read?: string;
  memory?: boolean;
  chunks: StripeChunk[] | null;
}

export interface StripeChunk {
  index: number;
  parity?: boolean;
  node: string;
  spare?: boolean;
  state: string;
  version?: string;
  why?: string;
  asked?: boolean;
  used?: boolean;
  hedged?: boolean;
  seconds?: number;
}

export interface Film {
  name: string;
  bytes_per_second: number;
  position: number;
  round: number;
  buffer_seconds: number;
  buffer_limit_seconds: number;
  longest_pause_seconds: number;
  stalled_seconds: number;
  checked_bytes: number;
  wrong_bytes: number;
  why?: string;
}

/** One moment of the last minute, as charts want it. */
export interface Moment {
  seconds: number; // since 1970, of the machine that watches
  cards: Map<string, Card>;
  gateway?: Gateway;
}
