/* eslint-disable */
// biome-ignore-all lint: pending
const p: any = () => {
  throw new Error('pending');
};
export const bucketRestorer = p,
  directoryRestorer = p,
  locate = p,
  parseBucket = p,
  parseDirectory = p,
  undoBucket = p,
  undoDirectory = p,
  contentOf = p,
  bucketSource = p,
  directorySource = p,
  checkContent = p;
export const forgetTrees: any = () => {};
