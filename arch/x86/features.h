/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* One row of the table that is printed before anything is switched. Texts are constant. */
struct hw_feature {
    const char *name;
    bool needed;               /* else only wanted: there is a way without it */
    bool found;
    const char *fix;           /* what to do where it is missing */
    const char *note;          /* what is done with it, or NULL */
};
