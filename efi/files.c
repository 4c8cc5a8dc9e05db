/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define WHAT_MAX 64
/* Some firmware fails on larger single reads. */
#define READ_MAX (1u << 20)
#define FILE_MAX GIB

static CHAR16 wide_of(char c)
{
    return c == '/' ? L'\\' : (CHAR16)(unsigned char)c;
}

static int open_volume(const char *path, const char *what, EFI_FILE_HANDLE *root)
{
    EFI_GUID image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID, volume_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
    EFI_BOOT_SERVICES *bs = firmware->BootServices;
    EFI_LOADED_IMAGE *loaded;
    EFI_FILE_IO_INTERFACE *volume;
    EFI_STATUS s;

    s = bs->HandleProtocol(image, &image_guid, (void **)&loaded);
    if (s == EFI_SUCCESS)
        s = bs->HandleProtocol(loaded->DeviceHandle, &volume_guid, (void **)&volume);
    if (s == EFI_SUCCESS)
        s = volume->OpenVolume(volume, root);
    if (s == EFI_SUCCESS)
        return 0;
    say("%s (%s): the program was not started from a volume with files: %s", path, what, status_name(s));
    return -ENOENT;
}

static int open_file(const char *path, const char *what, EFI_FILE_HANDLE *file)
{
    CHAR16 wide[CONFIG_PATH_MAX];
    EFI_FILE_HANDLE root;
    EFI_STATUS s;
    size_t n = strlen(path);
    int err;

    if (n >= ARRAY_SIZE(wide)) {
        say("%s (%s): expected a path of at most %u characters", path, what, CONFIG_PATH_MAX - 1);
        return -EINVAL;
    }
    for (size_t i = 0; i <= n; i++)
        wide[i] = wide_of(path[i]);
    err = open_volume(path, what, &root);
    if (err)
        return err;
    s = root->Open(root, file, wide, EFI_FILE_MODE_READ, 0);
    root->Close(root);
    if (s == EFI_SUCCESS)
        return 0;
    if (s == EFI_NOT_FOUND || s == EFI_INVALID_PARAMETER) {
        say("%s (%s): not found", path, what);
        return -ENOENT;
    }
    say("%s (%s): cannot be opened: %s", path, what, status_name(s));
    return -EIO;
}

static int size_of_file(EFI_FILE_HANDLE file, const char *path, const char *what, uint64_t max, uint64_t *size)
{
    EFI_GUID guid = EFI_FILE_INFO_ID;
    union {
        EFI_FILE_INFO info;
        uint8_t room[SIZE_OF_EFI_FILE_INFO + 2 * (CONFIG_PATH_MAX + 1)];
    } u;
    UINTN n = sizeof(u);
    EFI_STATUS s = file->GetInfo(file, &guid, &n, &u);

    if (s != EFI_SUCCESS) {
        say("%s (%s): cannot be looked at: %s", path, what, status_name(s));
        return -EIO;
    }
    *size = u.info.FileSize;
    if (u.info.Attribute & EFI_FILE_DIRECTORY)
        say("%s (%s): expected a file, found a directory", path, what);
    else if (*size == 0)
        say("%s (%s): the file is empty", path, what);
    else if (*size > max)
        say("%s (%s): expected at most %llu bytes, found %llu", path, what, (unsigned long long)max,
            (unsigned long long)*size);
    else
        return 0;
    return -EINVAL;
}

static int read_all(EFI_FILE_HANDLE file, const char *path, const char *what, void *data, uint64_t size)
{
    uint8_t *at = data;

    for (uint64_t left = size; left;) {
        UINTN n = MIN(left, READ_MAX);
        EFI_STATUS s = file->Read(file, &n, at);

        if (s != EFI_SUCCESS || n == 0) {
            say("%s (%s): read failed at byte %llu of %llu: %s", path, what, (unsigned long long)(size - left),
                (unsigned long long)size, s == EFI_SUCCESS ? "the file ends" : status_name(s));
            return -EIO;
        }
        at += n;
        left -= n;
    }
    return 0;
}

static int load_open(EFI_FILE_HANDLE file, const char *path, const char *what, uint64_t max, const void **data,
                     size_t *size)
{
    EFI_PHYSICAL_ADDRESS pages;
    EFI_STATUS s;
    uint64_t bytes;
    int err = size_of_file(file, path, what, max, &bytes);

    if (err)
        return err;
    s = firmware->BootServices->AllocatePages(AllocateAnyPages, EfiLoaderData, EFI_SIZE_TO_PAGES(bytes), &pages);
    if (s != EFI_SUCCESS) {
        say("%s (%s): no memory for %llu bytes", path, what, (unsigned long long)bytes);
        return -ENOMEM;
    }
    err = read_all(file, path, what, (void *)pages, bytes);
    if (err) {
        firmware->BootServices->FreePages(pages, EFI_SIZE_TO_PAGES(bytes));
        return err;
    }
    *data = (const void *)pages;
    *size = bytes;
    return 0;
}

int file_load(const char *path, const char *what, uint64_t max, const void **data, size_t *size)
{
    EFI_FILE_HANDLE file;
    int err = open_file(path, what, &file);

    if (err)
        return err;
    err = load_open(file, path, what, max, data, size);
    file->Close(file);
    return err;
}

void file_free(const void *data, size_t size)
{
    if (data)
        firmware->BootServices->FreePages((EFI_PHYSICAL_ADDRESS)data, EFI_SIZE_TO_PAGES(size));
}

static char folded(char c)
{
    if (c == '/')
        return '\\';
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

bool same_path(const char *a, const char *b)
{
    a += folded(*a) == '\\';
    b += folded(*b) == '\\';
    while (*a && folded(*a) == folded(*b)) {
        a++;
        b++;
    }
    return folded(*a) == folded(*b);
}

/* The index-th file of a VM: its kernel, its ramdisks, its disks; NULL past the last. */
static struct config_file *file_of(struct vm_config *vm, unsigned index)
{
    if (index == 0)
        return &vm->kernel;
    if (index <= vm->ramdisks)
        return &vm->ramdisk[index - 1];
    index -= vm->ramdisks + 1;
    return index < vm->disks ? &vm->disk[index].image : NULL;
}

/* A partition or a whole disk stays where it is. */
static bool is_loaded(const struct vm_config *vm, unsigned index)
{
    return index <= vm->ramdisks || vm->disk[index - vm->ramdisks - 1].kind == CONFIG_DISK_FILE;
}

static const char *kind_of(const struct vm_config *vm, unsigned index)
{
    if (index == 0)
        return "kernel";
    return index <= vm->ramdisks ? "ramdisk" : "disk";
}

/* A loaded file with the path of this one, NULL if there is none. */
static struct config_file *loaded_before(struct config *config, const struct config_file *file)
{
    for (unsigned v = 0; v < config->vms; v++) {
        struct config_file *other;

        for (unsigned i = 0; (other = file_of(&config->vm[v], i)) != NULL; i++)
            if (other->data && same_path(other->path, file->path))
                return other;
    }
    return NULL;
}

static int load_one(struct config *config, const struct vm_config *vm, unsigned index, struct config_file *file)
{
    struct config_file *before = loaded_before(config, file);
    char what[WHAT_MAX];
    int err;

    if (before) {
        file->data = before->data;
        file->size = before->size;
        file->shared = before->shared = true;
        return 0;
    }
    format(what, sizeof(what), "%s of vm %s", kind_of(vm, index), vm->name);
    err = file_load(file->path, what, FILE_MAX, &file->data, &file->size);
    if (!err)
        say("%s (%s): %zu bytes", file->path, what, file->size);
    return err;
}

int files_load(struct config *config)
{
    for (unsigned v = 0; v < config->vms; v++) {
        struct config_file *file;

        for (unsigned i = 0; (file = file_of(&config->vm[v], i)) != NULL; i++) {
            int err = is_loaded(&config->vm[v], i) ? load_one(config, &config->vm[v], i, file) : 0;

            if (err)
                return err;
        }
    }
    return 0;
}

static void forget(struct config *config, const void *data)
{
    for (unsigned v = 0; v < config->vms; v++) {
        struct config_file *file;

        for (unsigned i = 0; (file = file_of(&config->vm[v], i)) != NULL; i++)
            if (file->data == data)
                file->data = NULL;
    }
}

void files_free(struct config *config)
{
    for (unsigned v = 0; v < config->vms; v++) {
        struct config_file *file;

        for (unsigned i = 0; (file = file_of(&config->vm[v], i)) != NULL; i++) {
            const void *data = file->data;

            if (data) {
                forget(config, data);
                file_free(data, file->size);
            }
        }
    }
}

void load_options(char *text, size_t size)
{
    EFI_GUID guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
    EFI_LOADED_IMAGE *loaded;
    const CHAR16 *wide;
    size_t n;

    text[0] = '\0';
    if (firmware->BootServices->HandleProtocol(image, &guid, (void **)&loaded) != EFI_SUCCESS || !loaded->LoadOptions)
        return;
    wide = loaded->LoadOptions;
    n = MIN(loaded->LoadOptionsSize / sizeof(*wide), size - 1);
    for (size_t i = 0; i < n && wide[i]; i++) {
        if (wide[i] > '~' || (wide[i] < ' ' && wide[i] != '\t')) {
            text[0] = '\0';
            return;
        }
        text[i] = (char)wide[i];
        text[i + 1] = '\0';
    }
}
