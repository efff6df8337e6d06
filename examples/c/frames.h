/* Frames for camera_pipeline.c: read from PGM or PPM files, or generated. */
#ifndef FRAMES_H
#define FRAMES_H

/* Sizes of a binary PGM or PPM file of 8 bits; 0 on success, else a message was printed. */
int frame_size(const char *path, int *width, int *height);
/* Its pixels as RGB from 0 to 1, row by row; grey becomes three equal channels. 0 on success. */
int frame_read(const char *path, int width, int height, float *rgb);
/* Frame number `number` of a scene with a moving disc. */
void frame_draw(int number, int width, int height, float *rgb);

#endif
