/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap.h"

/* What a guest's pages are, for those who want to know where its memory has gone. */
enum survey_kind {
    SURVEY_UNTOUCHED,
    SURVEY_ZERO,               /* had a page, which was zero */
    SURVEY_LARGE,              /* the VM's own, part of a page of 2 MiB */
    SURVEY_PRIVATE,            /* the VM's own */
    SURVEY_REPLICAS,           /* the same, with copies on other nodes */
    SURVEY_ORIGIN,
    SURVEY_CONTENT,
    SURVEY_KINDS,
};

/* A run of pages of one kind, in one chunk of 2 MiB. */
struct survey { struct gpa gpa; uint64_t pages; enum survey_kind kind; };
/*
 * The next run behind this one, or the first if it is all zeros; what was never touched is left out. False: there is
 * none, or the VM is off. Any processor; the VM goes on, so the runs are of one moment each.
 */
bool survey_next(struct pmap *pmap, struct survey *run);
