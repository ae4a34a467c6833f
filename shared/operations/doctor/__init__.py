"""The doctor: is the whole installation well, and if not, what is wrong and how is it mended? In plain words.

Each file looks at one part and gives findings; none changes anything. `ovnpay doctor` prints them.
"""
