// The two limits a matrix product is set against, measured here and now.
#pragma once

#include "backends/cpu/kernel_table.h"
#include "core/thread_pool.h"

namespace unicorn::cpu {

// int8 operations per second (a multiply-add counts as two) of all members together, from registers. Best of a few
// runs of some milliseconds.
double measure_int8_peak(const KernelTable& kernels, ThreadPool& pool);

// Bytes per second that all members together read from a buffer no cache holds. Best of a few passes; 0 when there is
// no memory for the buffer.
double measure_read_bandwidth(const KernelTable& kernels, ThreadPool& pool);

}  // namespace unicorn::cpu
