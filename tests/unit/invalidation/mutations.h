/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* What can be left out or done too late; each must be noticed. */
enum mutation {
    NONE,
    NO_CLEAR,                  /* the EPTs are not told */
    NO_CLEAR_ON_NODE_1,
    NO_FLUSH,                  /* nobody is sent out */
    NO_GENERATION,             /* those who come in later are not told */
    LATE_FLUSH,                /* the page is let go first */
    LATE_DETACH,               /* compared, copied and committed while others can still write */
    NO_COMPARE,                /* equal hash taken for equal content */
    NO_LOOK,                   /* a first write does not see that another node maps zeros there */
    MOVE_NO_FLUSH,             /* a page moves while processors inside go on with the old one */
    MOVE_LATE_FLUSH,           /* the old page is let go before they are sent out */
    MOVE_LATE_DETACH,          /* copied while it can be written */
    STALE_REPLICA,             /* a move or a collapse leaves another node's EPT as it was */
    NO_COPY,                   /* a replica is mapped before it is filled */
    RECLAIM_NO_FLUSH,          /* zeros are taken while processors inside go on with the large page */
    RECLAIM_LATE_DETACH,       /* found to be zero while they can be written */
    RECLAIM_NO_LOOK,           /* what was zero before the detach is taken for zero after it */
    SHARED_STAYS_MAPPED,       /* copies of shared pages are let go while VMs map them */
    WITHDRAWN_STAYS_MAPPED,    /* a page becomes private while nodes map copies */
    PLACE_NO_FLUSH,            /* what was there is let go while processors inside go on with it */
    PLACE_STALE_NODE,          /* other nodes go on with it */
    PLACE_LATE_FLUSH,          /* it is let go before they are sent out */
    LEND_STAYS_WRITABLE,       /* a page is lent while processors inside can write it */
    LEND_LATE_DETACH,          /* it is in the commons before they cannot */
    COPY_INTO_SHARED,          /* what the hypervisor copies goes into a page that others share */
    TABLE_NO_FLUSH,            /* a table of an EPT is let go while processors inside may walk it */
    JOIN_NO_FLUSH,             /* small pages become a large one while processors inside go on with them */
    JOIN_LATE_DETACH,          /* copied into the large page while they can be written */
    CLEARED_STAYS_MAPPED,      /* a shared page that is zeroed is let go while it can be read */
    SEGMENT_GOES_EARLY,        /* its memory is let go while another VM has it */
    MUTATIONS,
};

static const char *const mutation_names[] = {
    "none", "no clear", "no clear on node 1", "no flush", "no generation", "late flush", "late detach", "no compare",
    "no look",
    "move without flush", "move with a late flush", "move with a late detach", "stale replica", "no copy",
    "reclaim without flush", "reclaim with a late detach", "reclaim without a second look",
    "shared copies stay mapped", "copies of a withdrawn page stay mapped",
    "place without flush", "a place keeps a stale node", "place with a late flush",
    "a lent page stays writable", "a lent page with a late detach", "copied into a shared page",
    "table given up without flush",
    "join without flush", "join with a late detach", "a page that is zeroed stays mapped", "segment goes early",
};
