/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* Linux's numbers: the hypercall ABI returns them. */
#ifndef EPERM
#define EPERM   1
#define ENOENT  2
#define EIO     5
#define ENXIO   6
#define ENOEXEC 8
#define EAGAIN  11
#define ENOMEM  12
#define EACCES  13
#define EFAULT  14
#define EBUSY   16
#define EEXIST  17
#define ENODEV  19
#define EINVAL  22
#define ENOSPC  28
#define EROFS   30
#define ERANGE  34
#define ENOSYS  38
#define EPROTO  71
#define EOVERFLOW 75
#define ENOTSUP 95
#define ETIMEDOUT 110
#define EHOSTUNREACH 113
#endif
