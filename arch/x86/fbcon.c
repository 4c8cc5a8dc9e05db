/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/fbcon.h"

#include "arch/x86/font.h"
#include "lib/string.h"

/*
 * The screen as characters is kept in memory: a framebuffer is slow to read, so scrolling compares lines there and
 * draws only the cells that change.
 */
#define CELL_WIDTH  8u
#define COLUMNS_MAX 240u
#define ROWS_MAX    135u
#define TAB         8u
#define INK         0x00c0c0c0u /* grey: the same whether red or blue comes first */
#define PAPER       0x00000000u

enum escape { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_CSI, ESCAPE_OSC };

static uint32_t *pixels;
static unsigned stride, columns, rows, column, row;
static char cells[ROWS_MAX][COLUMNS_MAX];
static enum escape escape;

static void draw(unsigned x, unsigned y, char c)
{
    const uint8_t *glyph = font_glyphs[c - FONT_FIRST];
    volatile uint32_t *to = pixels + (size_t)y * FONT_HEIGHT * stride + x * CELL_WIDTH;

    for (unsigned line = 0; line < FONT_HEIGHT; line++, to += stride) {
        for (unsigned bit = 0; bit < CELL_WIDTH; bit++)
            to[bit] = glyph[line] & (0x80u >> bit) ? INK : PAPER;
    }
}

static void set_cell(unsigned x, unsigned y, char c)
{
    if (cells[y][x] == c)
        return;
    cells[y][x] = c;
    draw(x, y, c);
}

static void new_line(void)
{
    if (row + 1 < rows) {
        row++;
        return;
    }
    for (unsigned y = 0; y < rows; y++) {
        for (unsigned x = 0; x < columns; x++)
            set_cell(x, y, y + 1 < rows ? cells[y + 1][x] : ' ');
    }
}

static void put_printable(char c)
{
    if (column == columns) {
        column = 0;
        new_line();
    }
    set_cell(column++, row, c);
}

static void put_plain(char c)
{
    switch (c) {
    case '\n':
        column = 0; /* the log and guests that send a bare newline mean a new line */
        new_line();
        break;
    case '\r':
        column = 0;
        break;
    case '\b':
        column -= column > 0;
        break;
    case '\t':
        column = MIN((column / TAB + 1) * TAB, columns - 1);
        break;
    case '\033':
        escape = ESCAPE_BEGUN;
        break;
    default:
        if (c >= FONT_FIRST && c <= FONT_LAST)
            put_printable(c);
    }
}

/* Escape sequences are read over: ESC [ up to a letter, ESC ] up to BEL or ESC, ESC and one character otherwise. */
static void skip_escape(char c)
{
    if (escape == ESCAPE_BEGUN)
        escape = c == '[' ? ESCAPE_CSI : c == ']' ? ESCAPE_OSC : ESCAPE_NONE;
    else if (escape == ESCAPE_CSI)
        escape = c >= 0x40 && c <= 0x7e ? ESCAPE_NONE : ESCAPE_CSI;
    else if (c == '\a' || c == '\033')
        escape = c == '\a' ? ESCAPE_NONE : ESCAPE_BEGUN;
}

bool fbcon_init(const struct fbcon_mode *mode)
{
    pixels = (uint32_t *)(uintptr_t)mode->base;
    stride = mode->stride;
    columns = MIN(mode->width / CELL_WIDTH, COLUMNS_MAX);
    rows = MIN(mode->height / FONT_HEIGHT, ROWS_MAX);
    column = row = 0;
    escape = ESCAPE_NONE;
    if (!pixels || stride < mode->width || !columns || !rows) {
        pixels = NULL;
        return false;
    }
    memset(cells, 0, sizeof(cells)); /* unlike any character: everything is drawn */
    for (unsigned y = 0; y < rows; y++) {
        for (unsigned x = 0; x < columns; x++)
            set_cell(x, y, ' ');
    }
    return true;
}

void fbcon_write(const char *text, size_t n)
{
    if (!pixels)
        return;
    for (size_t i = 0; i < n; i++) {
        if (escape == ESCAPE_NONE)
            put_plain(text[i]);
        else
            skip_escape(text[i]);
    }
}
