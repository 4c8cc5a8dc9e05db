/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "lib/errno.h"

struct status_row {
    int err;
    EFI_STATUS status;
    const char *word;
};

static const struct status_row rows[] = {
    { 0,         EFI_SUCCESS,           "success"           },
    { -ENOTSUP,  EFI_UNSUPPORTED,       "unsupported"       },
    { -ENOSYS,   EFI_UNSUPPORTED,       "unsupported"       },
    { -ENODEV,   EFI_UNSUPPORTED,       "unsupported"       },
    { -EINVAL,   EFI_INVALID_PARAMETER, "invalid-parameter" },
    { -ERANGE,   EFI_INVALID_PARAMETER, "invalid-parameter" },
    { -ENOENT,   EFI_NOT_FOUND,         "not-found"         },
    { -ENOMEM,   EFI_OUT_OF_RESOURCES,  "out-of-resources"  },
    { -ENOSPC,   EFI_OUT_OF_RESOURCES,  "out-of-resources"  },
    { -ENOEXEC,  EFI_LOAD_ERROR,        "load-error"        },
};

static const struct status_row other = { 0, EFI_LOAD_ERROR, "load-error" };

static const struct status_row *find(int err)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].err == err)
            return &rows[i];
    return &other;
}

EFI_STATUS status_of(int err)
{
    return find(err)->status;
}

const char *exit_word(int err)
{
    return find(err)->word;
}

const char *status_name(EFI_STATUS status)
{
    static const struct {
        EFI_STATUS status;
        const char *name;
    } names[] = {
        { EFI_SUCCESS,           "EFI_SUCCESS"           },
        { EFI_LOAD_ERROR,        "EFI_LOAD_ERROR"        },
        { EFI_INVALID_PARAMETER, "EFI_INVALID_PARAMETER" },
        { EFI_UNSUPPORTED,       "EFI_UNSUPPORTED"       },
        { EFI_BUFFER_TOO_SMALL,  "EFI_BUFFER_TOO_SMALL"  },
        { EFI_NOT_READY,         "EFI_NOT_READY"         },
        { EFI_DEVICE_ERROR,      "EFI_DEVICE_ERROR"      },
        { EFI_OUT_OF_RESOURCES,  "EFI_OUT_OF_RESOURCES"  },
        { EFI_VOLUME_CORRUPTED,  "EFI_VOLUME_CORRUPTED"  },
        { EFI_NO_MEDIA,          "EFI_NO_MEDIA"          },
        { EFI_MEDIA_CHANGED,     "EFI_MEDIA_CHANGED"     },
        { EFI_NOT_FOUND,         "EFI_NOT_FOUND"         },
        { EFI_ACCESS_DENIED,     "EFI_ACCESS_DENIED"     },
        { EFI_TIMEOUT,           "EFI_TIMEOUT"           },
        { EFI_NOT_STARTED,       "EFI_NOT_STARTED"       },
        { EFI_ABORTED,           "EFI_ABORTED"           },
        { EFI_SECURITY_VIOLATION, "EFI_SECURITY_VIOLATION" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].status == status)
            return names[i].name;
    return "an unknown EFI_STATUS";
}
