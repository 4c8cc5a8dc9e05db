/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "efi/firmware.h"
#include "efi/path.h"

#include "drivers/card.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Network cards through the firmware's Simple Network Protocol (UEFI 2.10, 24.1). */
#define CLASS_NETWORK 2u

struct firmware_card {
    struct path path;
    EFI_SIMPLE_NETWORK *snp;   /* between start and stop */
    bool on_its_way;           /* what is in `frame` */
    uint8_t frame[CARD_MAX_FRAME];
};

static struct firmware_card cards[BOOT_MAX_CARDS];
static EFI_GUID snp_guid = EFI_SIMPLE_NETWORK_PROTOCOL_GUID;

/* The link, as the last status told it; some cannot tell. */
static bool has_link(const EFI_SIMPLE_NETWORK_MODE *mode)
{
    return !mode->MediaPresentSupported || mode->MediaPresent;
}

/* Nobody else uses it from now on: the firmware's network stack lets it go. */
static EFI_SIMPLE_NETWORK *take(const struct firmware_card *c)
{
    EFI_HANDLE handle = path_handle(&c->path, &snp_guid);
    EFI_SIMPLE_NETWORK *snp;

    if (!handle || firmware->BootServices->OpenProtocol(handle, &snp_guid, (void **)&snp, image, NULL,
                                                        EFI_OPEN_PROTOCOL_EXCLUSIVE) != EFI_SUCCESS)
        return NULL;
    return snp;
}

static void give_back(const struct firmware_card *c)
{
    EFI_HANDLE handle = path_handle(&c->path, &snp_guid);

    if (!handle)
        return;
    firmware->BootServices->CloseProtocol(handle, &snp_guid, image, NULL);
    firmware->BootServices->ConnectController(handle, NULL, NULL, TRUE);
}

/* It receives all that comes, as far as it can be told; some do in any case, and refuse to be told what they do. */
static EFI_STATUS listen(unsigned card, EFI_SIMPLE_NETWORK *snp)
{
    UINT32 wanted = EFI_SIMPLE_NETWORK_RECEIVE_UNICAST | EFI_SIMPLE_NETWORK_RECEIVE_MULTICAST |
                    EFI_SIMPLE_NETWORK_RECEIVE_BROADCAST | EFI_SIMPLE_NETWORK_RECEIVE_PROMISCUOUS |
                    EFI_SIMPLE_NETWORK_RECEIVE_PROMISCUOUS_MULTICAST;
    EFI_STATUS s = EFI_SUCCESS;

    if (snp->Mode->State == EfiSimpleNetworkStopped)
        s = snp->Start(snp);
    if (s == EFI_SUCCESS && snp->Mode->State != EfiSimpleNetworkInitialized)
        s = snp->Initialize(snp, 0, 0);
    if (s != EFI_SUCCESS)
        return s;
    if (!(snp->Mode->ReceiveFilterMask & EFI_SIMPLE_NETWORK_RECEIVE_PROMISCUOUS))
        say("network card %u: its driver may leave out what is for other addresses than the card's", card);
    wanted &= snp->Mode->ReceiveFilterMask & ~snp->Mode->ReceiveFilterSetting;
    return wanted ? snp->ReceiveFilters(snp, wanted, 0, FALSE, 0, NULL) : EFI_SUCCESS;
}

static void hush(EFI_SIMPLE_NETWORK *snp)
{
    snp->Shutdown(snp);
    snp->Stop(snp);
}

static int card_start(unsigned card)
{
    struct firmware_card *c = &cards[card];
    EFI_SIMPLE_NETWORK *snp = take(c);
    EFI_STATUS s = snp ? listen(card, snp) : EFI_ACCESS_DENIED;

    c->on_its_way = false;
    if (s == EFI_SUCCESS) {
        c->snp = snp;
        return 0;
    }
    say("network card %u: the firmware's driver cannot be used: %s", card, status_name(s));
    if (snp) {
        hush(snp);
        give_back(c);
    }
    return -EIO;
}

static void card_stop(unsigned card)
{
    struct firmware_card *c = &cards[card];

    if (!c->snp)
        return;
    hush(c->snp);
    c->snp = NULL;
    give_back(c);
}

/* Has the card the last frame? */
static void look(struct firmware_card *c)
{
    void *done = NULL;

    if (c->snp->GetStatus(c->snp, NULL, &done) == EFI_SUCCESS && done == c->frame)
        c->on_its_way = false;
}

static int card_send(unsigned card, const void *frame, size_t bytes)
{
    struct firmware_card *c = &cards[card];
    EFI_STATUS s;

    if (!c->snp || bytes > sizeof(c->frame))
        return -EIO;
    if (c->on_its_way)
        look(c);
    if (c->on_its_way)
        return -EAGAIN;
    memcpy(c->frame, frame, bytes);
    s = c->snp->Transmit(c->snp, 0, bytes, c->frame, NULL, NULL, NULL);
    c->on_its_way = s == EFI_SUCCESS;
    return s == EFI_SUCCESS ? 0 : s == EFI_NOT_READY ? -EAGAIN : -EIO;
}

static int card_receive(unsigned card, void *frame, size_t *bytes)
{
    struct firmware_card *c = &cards[card];
    UINTN header = 0, n = *bytes;
    EFI_STATUS s;

    if (!c->snp)
        return -EAGAIN;
    s = c->snp->Receive(c->snp, &header, &n, frame, NULL, NULL, NULL);
    *bytes = n;
    return s == EFI_SUCCESS ? 0 : s == EFI_BUFFER_TOO_SMALL ? -EIO : -EAGAIN;
}

static bool card_up(unsigned card)
{
    struct firmware_card *c = &cards[card];

    if (!c->snp)
        return false;
    look(c);
    return has_link(c->snp->Mode);
}

static void add_card(struct boot_info *boot, EFI_HANDLE handle)
{
    struct firmware_card *c = &cards[boot->cards];
    struct boot_card *b = &boot->card[boot->cards];
    const EFI_DEVICE_PATH *rest;
    EFI_SIMPLE_NETWORK *snp;

    *c = (struct firmware_card){ 0 };
    if (firmware->BootServices->HandleProtocol(handle, &snp_guid, (void **)&snp) != EFI_SUCCESS ||
        snp->Mode->HwAddressSize != sizeof(b->mac) || snp->Mode->MediaHeaderSize != CARD_MIN_FRAME ||
        !path_keep(&c->path, handle) || !path_pci(&c->path, &b->bdf, &rest))
        return;
    for (unsigned i = 0; i < boot->cards; i++)
        if (boot->card[i].bdf == b->bdf)
            return; /* another path to the same one */
    memcpy(b->mac, &snp->Mode->CurrentAddress, sizeof(b->mac));
    b->up = has_link(snp->Mode);
    boot->cards++;
}

void cards_find(struct boot_info *boot)
{
    EFI_HANDLE *handles;
    UINTN n;

    boot->cards = 0;
    boot->card_start = card_start;
    boot->card_stop = card_stop;
    boot->card_send = card_send;
    boot->card_receive = card_receive;
    boot->card_up = card_up;
    pci_connect_class(CLASS_NETWORK);
    if (firmware->BootServices->LocateHandleBuffer(ByProtocol, &snp_guid, NULL, &n, &handles) != EFI_SUCCESS)
        return;
    for (UINTN i = 0; i < n && boot->cards < BOOT_MAX_CARDS; i++)
        add_card(boot, handles[i]);
    firmware->BootServices->FreePool(handles);
}
